"""Outputs appear whole or not at all."""

from pathlib import Path

import pytest

from ssm4rec.errors import InputError
from ssm4rec.files import read_json, whole_file, whole_folder, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_when_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    for content in ("first", "second"):
        with whole_folder(target) as partial:
            (partial / content).write_text(content)
            assert not (target / content).exists()
    assert names(target) == ["second"]
    assert names(target.parent) == ["model"]


def test_what_was_there_stays_when_the_block_fails(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    folder.mkdir()
    (folder / "old").write_text("old")
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_folder(folder) as partial:
        (partial / "new").write_text("new")
        _ = 1 / 0
    with pytest.raises(ZeroDivisionError), whole_file(file) as partial:
        partial.write_text("new")
        _ = 1 / 0
    assert names(tmp_path) == ["file", "folder"]
    assert (names(folder), file.read_text()) == (["old"], "old")


def test_relative_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with whole_folder(Path()) as partial:
        (partial / "new").write_text("new")
    assert names(tmp_path) == ["here"]
    assert names(tmp_path / "here") == ["new"]


def test_json_goes_round_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    write_json(path, {"value": [1, None, "ü"]})
    assert read_json(path) == {"value": [1, None, "ü"]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"value": float("nan")})
    assert read_json(path) == {"value": [1, None, "ü"]}
    path.write_bytes(b"\xff{")
    with pytest.raises(InputError, match=r"document\.json: not a JSON file"):
        read_json(path)
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")

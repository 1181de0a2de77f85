"""Outputs appear whole or not at all."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import MARKER, held_by_this_process, read_json, whole_file, whole_folder, write_json


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_is_replaced_when_the_block_succeeds(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "model"
    for content in ("first", "second"):
        with whole_folder(target, "train") as partial:
            (partial / content).write_text(content)
            assert not (target / content).exists()
    assert names(target) == [MARKER, "second"]
    assert read_json(target / MARKER) == {"stage": "train", "files": ["second"]}
    assert names(target.parent) == ["model"]


def test_what_was_there_stays_when_the_block_fails(tmp_path: Path) -> None:
    folder, file = tmp_path / "folder", tmp_path / "file"
    with whole_folder(folder, "train") as partial:
        (partial / "old").write_text("old")
    file.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_folder(folder, "train") as partial:
        (partial / "new").write_text("new")
        _ = 1 / 0
    with pytest.raises(ZeroDivisionError), whole_file(file) as partial:
        partial.write_text("new")
        _ = 1 / 0
    assert names(tmp_path) == ["file", "folder"]
    assert (names(folder), file.read_text()) == ([MARKER, "old"], "old")


def test_only_a_folder_that_the_stage_wrote_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with whole_folder(folder, "train") as partial:
        (partial / "weights").write_text("old")
    with pytest.raises(InputError, match=r"model: a folder that train wrote, not align; choose"):  # noqa: SIM117
        with whole_folder(folder, "align"):
            pytest.fail("nothing is to be done")
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"model: 'notes.txt' in it was not written by train, which would replace it"):  # noqa: SIM117
        with whole_folder(folder, "train"):
            pytest.fail("nothing is to be done")
    assert names(folder) == [MARKER, "notes.txt", "weights"]


def test_what_comes_to_lie_there_meanwhile_stays(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="did not write"), whole_folder(tmp_path / "model", "train"):
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="a folder is there"), whole_file(tmp_path / "model"):
        pytest.fail("nothing is to be done")
    assert names(tmp_path) == ["model"]
    assert names(tmp_path / "model") == ["notes.txt"]


KILLED = """
import os, signal, sys
from pathlib import Path
from ssm4rec.runtime.files import whole_file, whole_folder
form = whole_file(Path(sys.argv[1])) if sys.argv[2] == "file" else whole_folder(Path(sys.argv[1]), "train")
with form as partial:
    (partial if sys.argv[2] == "file" else partial / "weights").write_text("half")
    print("writing", flush=True)
    if sys.argv[3] == "wait":
        sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("form", ["file", "folder"])
def test_what_a_killed_writer_left_is_removed_and_a_living_one_is_left_alone(tmp_path: Path, form: str) -> None:
    target = tmp_path / "output"

    def writer(then: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", KILLED, str(target), form, then]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def write(shared: bool = False) -> None:
        with whole_file(target, shared) if form == "file" else whole_folder(target, "train", shared) as partial:
            (partial if form == "file" else partial / "weights").write_text("whole")

    dead = writer("die")
    dead.communicate()
    assert dead.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 1
    living = writer("wait")
    assert living.stdout is not None
    living.stdout.readline()
    assert len(names(tmp_path)) == 1  # it has removed what the dead one left
    with pytest.raises(InputError, match=r"output: another process is writing it; wait for that, or choose"):
        write()
    write(shared=True)
    assert len(names(tmp_path)) == 2
    living.communicate("\n")
    write()
    assert names(tmp_path) == ["output"]


def test_checkpoints_belong_to_one_process(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from ssm4rec.runtime.files import held_by_this_process\n"
    code += "with held_by_this_process(Path(sys.argv[1])): print('held')"

    def other() -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)

    with held_by_this_process(tmp_path):
        assert "another process trains with these checkpoints" in other().stderr
    assert other().stdout == "held\n"
    (link := tmp_path / "link").symlink_to(tmp_path)
    with held_by_this_process(link):
        assert "another process trains with these checkpoints" in other().stderr


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

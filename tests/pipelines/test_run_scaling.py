"""The scaling study on this machine, whole, of data that need no download."""

import json
from pathlib import Path

import pytest

from tests.pipelines.studies import run_study


def test_scaling_study(tmp_path: Path) -> None:
    """One run, too few for a law: what a report needs of trainings, evaluations and data arrives."""
    flags = ["--models", "sasrec", "--widths", "8", "--depths", "1", "--shares", "0.5", "--epochs", "1"]
    flags += ["--seeds", "4", "--draw-users", "300", "--k-core", "0"]
    done = run_study(tmp_path, *flags, study="scaling")
    assert done.returncode == 0, done.stderr + done.stdout
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    (run,) = [row for row in rows if row["kind"] == "run"]
    (floor,) = [row["value"] for row in rows if row["kind"] == "floor"]
    split = json.loads((study / "dataset" / "manifest.json").read_text())["split"]
    assert 0.4 < run["data"] / split["training_interactions"] < 0.6
    assert run["nll"] > floor
    assert run["flops"] > run["six_nd"] > 0
    metrics = json.loads((study / "evaluations" / "sasrec-seed4-width8-depth1-share0.5" / "metrics.json").read_text())
    assert metrics["nll"]["value"] == pytest.approx(run["nll"])
    assert "No law was fitted" in done.stdout

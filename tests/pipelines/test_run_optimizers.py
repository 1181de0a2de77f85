"""The optimizer study on this machine, whole."""

import json
from pathlib import Path

import pytest

from ssm4rec.studies.optimizers.plan import SCALES
from tests.pipelines.studies import finish_study, study_metrics


@pytest.mark.slow
def test_optimizer_study(archive: Path, tmp_path: Path) -> None:
    """The second loop goes over what the sweep's winner made of the first."""
    flags = ["--models", "sasrec", "--optimizers", "usgm", "--controls", "fixed,paper", "--seeds", "3"]
    flags += ["--overrides", "training.epochs=1"]
    done = finish_study(archive, tmp_path, *flags, study="optimizers")
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    trials = [row for row in rows if row["phase"] == "sweep"]
    compared = [row for row in rows if row["phase"] == "comparison"]
    assert sorted(row["scale"] for row in trials) == sorted(SCALES["usgm"])
    best = max(trials, key=lambda row: (row["best_validation_ndcg@10"], row["scale"]))
    assert {(row["scale"], row["batch_control"], row["seed"]) for row in compared} == {
        (best["scale"], control, 3) for control in ("fixed", "paper")
    }
    assert "**sasrec**: best is usgm" in done.stdout
    assert len(list((study / "models").iterdir())) == len(rows)
    assert len(list((study / "checkpoints").iterdir())) == len(rows)
    reached = study_metrics(tmp_path)["sasrec/usgm/paper/validation_ndcg_at_10"]
    (row,) = [row for row in compared if row["batch_control"] == "paper"]
    assert reached == row["best_validation_ndcg@10"]

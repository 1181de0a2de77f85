"""The optimizer study on this machine, whole."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ssm4rec.training.sweep import SCALES
from tests.pipelines.studies import run_study


@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # of MLflow's own store
def test_optimizer_study(archive: Path, tmp_path: Path) -> None:
    """The second loop goes over what the sweep's winner made of the first."""
    flags = ["--source", str(archive), "--any-checksum", "true", "--models", "sasrec", "--k-core", "2"]
    flags += ["--optimizers", "usgm", "--controls", "fixed,paper", "--seeds", "3"]
    done = run_study(tmp_path, *flags, "--overrides", "training.epochs=1", module="pipelines.run_optimizers")
    assert done.returncode == 0, done.stderr + done.stdout
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
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ssm4rec").experiment_id])
    (parent,) = [run for run in runs if run.data.tags.get("stage") == "study"]
    reached = parent.data.metrics["sasrec/usgm/paper/validation_ndcg_at_10"]
    (row,) = [row for row in compared if row["batch_control"] == "paper"]
    assert reached == row["best_validation_ndcg@10"]

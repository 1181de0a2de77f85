"""A study's folder that is used for more than one study, or is moved."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.pipelines.studies import finish_study, started

pytestmark = pytest.mark.slow


def unmasked(study: Path) -> dict[str, float]:
    """Return each trained model's unmasked NDCG@10, of seed 0."""
    rows = json.loads((study / "results.json").read_text())
    wanted = ("unmasked", "ndcg@10", 0)
    return {row["model"]: row["value"] for row in rows if (row["protocol"], row["metric"], row["seed"]) == wanted}


def test_other_models_in_one_folder_are_other_runs_in_mlflow(archive: Path, tmp_path: Path) -> None:
    """A loop gives the first model of each study the same place: the first study's figures stay as they were."""
    finish_study(archive, tmp_path, "--models", "sasrec")
    found = unmasked(tmp_path / "study")
    done = finish_study(archive, tmp_path, "--models", "mamba4rec,sasrec")
    assert "train_recommender mamba4rec seed 0" in started(done.stdout)
    found |= unmasked(tmp_path / "study")
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    experiment = client.get_experiment_by_name("ssm4rec").experiment_id
    runs = client.search_runs([experiment], "tags.stage = 'evaluate'")
    told = [(run.info.run_name, run.data.params["model"], run.data.metrics["unmasked/ndcg_at_10"]) for run in runs]
    assert sorted(told) == sorted((f"{model} s0", model, value) for model, value in found.items())
    resumed = [name for run in client.search_runs([experiment]) for name in run.data.tags if "resumed." in name]
    assert not resumed


def test_a_moved_folder_says_what_it_does_again(archive: Path, tmp_path: Path) -> None:
    first = finish_study(archive, tmp_path, "--models", "sasrec")
    (tmp_path / "study").rename(tmp_path / "moved")
    flags = ("--models", "sasrec", "--out", str(tmp_path / "moved"))
    again = finish_study(archive, tmp_path, *flags)
    assert f"{tmp_path}/moved was {tmp_path}/study in its last run: its finished stages are run again" in again.stdout
    assert "not repeated" not in again.stdout
    assert set(started(again.stdout)) == set(started(first.stdout))
    once_more = finish_study(archive, tmp_path, *flags)
    assert "in its last run" not in once_more.stdout
    assert started(once_more.stdout) == []

"""The reproduction study on this machine, whole: what it trains, what its table says, and what is not repeated."""

import json
import math
import zipfile
from pathlib import Path

import polars
import pytest
from mlflow import MlflowClient

from pipelines.packages import COMPILED
from pipelines.spec import read_spec
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.studies.reproduction.plan import PUBLISHED_EPOCHS, Settings
from tests.pipelines.studies import run_study, started

STUDY = "reproduction"


@pytest.fixture
def ml_1m(tmp_path: Path) -> Path:
    """An archive of MovieLens-1M's layout: 30 users who walk round a circle of 20 films, some steps at one time."""
    ratings = "".join(
        f"{user}::{(user + step) % 20 + 1}::{step % 5 + 1}::{960_000_000 + 40 * step}\n"
        for user in range(1, 31)
        for step in range(8 + user % 9)
    )
    films = "".join(f"{film}::Film {film} (1995)::Drama\n" for film in range(1, 21))
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as file:
        file.writestr("ml-1m/ratings.dat", ratings)
        file.writestr("ml-1m/movies.dat", films.encode("latin-1"))
    return tmp_path / "ml-1m.zip"


@pytest.mark.slow
def test_reproduction_study(ml_1m: Path, tmp_path: Path) -> None:
    """Asked for one recipe more, the same folder trains that one alone; the table is of all, by their own ranks."""
    flags = ["--source", str(ml_1m), "--any-checksum", "true", "--models", "sasrec"]
    first = run_study(tmp_path, *flags, "--profiles", "smoke", study=STUDY)
    assert first.returncode == 0, first.stderr + first.stdout
    flags += ["--profiles", "smoke,paper", "--paper-epochs", "1"]
    done = run_study(tmp_path, *flags, study=STUDY)
    assert done.returncode == 0, done.stderr + done.stdout
    assert set(started(done.stdout)) == {
        "train_recommender sasrec seed 0 paper-no-repeat-term",
        "evaluate sasrec seed 0 paper-no-repeat-term",
        "report",
    }
    study = tmp_path / "study"
    recipes = {"smoke-repeat-term", "smoke-no-repeat-term", "paper-no-repeat-term"}
    for folder in ("models", "evaluations"):
        assert {path.name for path in (study / folder).iterdir()} == {f"sasrec-seed0-{name}" for name in recipes}
    manifest = json.loads((study / "dataset" / "manifest.json").read_text())
    assert (manifest["dataset"], manifest["event_order"]["name"]) == ("ml-1m", "recbole")

    rows = json.loads((study / "results.json").read_text())
    means = {
        (row["profile"], row["repeat_term"], row["protocol"], row["metric"]): row
        for row in rows
        if row["kind"] == "mean" and row["model"] == "sasrec"
    }
    for name in recipes:
        profile, _, term = name.partition("-")
        config = json.loads((study / "models" / f"sasrec-seed0-{name}" / "config.json").read_text())
        assert config["recipe"]["model"]["repeat_term"] is (term == "repeat-term")
        assert config["training"]["epochs"] == (1 if profile == "paper" else 2)
        ranks = polars.read_parquet(study / "evaluations" / f"sasrec-seed0-{name}" / "ranks.parquet")
        for protocol in ("unmasked", "masked"):
            hits = [rank for rank in ranks[f"rank_{protocol}"] if rank <= 10]
            expected = {"hit@10": len(hits), "ndcg@10": sum(1 / math.log2(rank + 1) for rank in hits)}
            for metric, total in expected.items():
                row = means[profile, term == "repeat-term", protocol, metric]
                assert row["value"] == pytest.approx(total / len(ranks))
                assert row["low"] <= row["value"] <= row["high"]
    assert [row for row in rows if row["kind"] == "published"] == []  # the data are not the paper's: nothing is judged
    report = (study / "report.md").read_text()
    assert "0.224" in report
    assert "0.224" not in report.partition("## History masked")[2].partition("\n## ")[0]
    assert "1 of 1" in report
    assert "not judged" in done.stdout
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ssm4rec").experiment_id])
    latest, _ = [run for run in runs if run.data.tags.get("stage") == "study"]  # the latest first
    assert (latest.data.tags["dataset"], latest.data.tags["profile"]) == ("ml-1m", "smoke,paper")
    assert latest.data.metrics["sasrec/smoke-with-repeat-term/masked/ndcg_at_10"] == pytest.approx(
        means["smoke", True, "masked", "ndcg@10"]["value"]
    )


@pytest.mark.parametrize("model", ["2mamba4rec", "hydra4rec", "mamba4rec", "sasrec"])
def test_each_training_has_the_repeat_term_that_it_says(model: str) -> None:
    for entry in Settings(models=(model,), paper_epochs=0).lists()["trainings"]:
        chosen = recipe(model, entry["profile"], "long", entry["overrides"])
        assert chosen.model.repeat_term is entry["overrides"].endswith("repeat_term=true")
        if entry["profile"] == "paper":
            assert chosen == recipe(model, "paper", "long")
            assert chosen.training.epochs == PUBLISHED_EPOCHS


def test_the_command_line_and_the_pipeline_train_the_same() -> None:
    proposed = read_spec(COMPILED / "reproduction_study.yaml")["root"]["inputDefinitions"]["parameters"]
    assert Settings().lists()["trainings"] == proposed["trainings"]["defaultValue"]
    flags = ["--models", "sasrec", "--profiles", "paper", "--paper-epochs", "5", "--seeds", "3,4"]
    assert Settings.parser().parse_args(flags).lists()["trainings"] == [
        {
            "model": "sasrec",
            "seed": seed,
            "profile": "paper",
            "overrides": "training.epochs=5,model.repeat_term=false",
            "label": "paper-no-repeat-term",
        }
        for seed in (3, 4)
    ]

"""The scaling study on this machine, whole, of data that need no download."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.pipelines.studies import run_study


@pytest.mark.slow
def test_scaling_study(tmp_path: Path) -> None:
    """One run, too few for a law, and one pair: what a report needs of trainings, evaluations and data arrives."""
    flags = ["--models", "sasrec", "--widths", "8", "--depths", "1", "--shares", "0.5", "--epochs", "1"]
    flags += ["--seeds", "4", "--draw-users", "300", "--k-core", "0"]
    flags += ["--transfer-shares", "0.1", "--transfer-seeds", "2"]
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

    ended = {row["arm"]: row for row in rows if row["kind"] == "transfer"}
    for arm, row in ended.items():
        assert (row["pretrained_on"], row["dataset"]) == ("generated-words-other", "generated-words")
        assert (row["users"], row["seed"]) == (30, 2)
        metrics = json.loads((study / f"evaluations/sasrec-seed2-{arm}-share0.1/metrics.json").read_text())
        assert metrics["nll"]["value"] == row["nll"]
    scratch, finetuned = ended["scratch"], ended["finetuned"]
    started = [
        json.loads((study / f"evaluations/sasrec-seed2-{arm}-share0.1/metrics.json").read_text())["initial_model"]
        for arm in ("scratch", "finetuned")
    ]
    weights = (study / "models/sasrec-seed0-pretrained/model.safetensors").read_bytes()
    assert started == ["", hashlib.sha256(weights).hexdigest()]
    gains = {row["metric"]: row["value"] for row in rows if row["kind"] == "gain"}
    assert gains == pytest.approx(
        {"nll": scratch["nll"] - finetuned["nll"], "ndcg@10": finetuned["ndcg@10"] - scratch["ndcg@10"]}
    )
    assert "not tested with one seed" in done.stdout
    assert {path.name for path in study.glob("dataset*")} == {"dataset", "dataset-pretrain", "dataset-finetune"}

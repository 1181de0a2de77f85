"""The alignment study on this machine, whole."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.studies import finish_study, started, study_metrics


@pytest.mark.slow
def test_alignment_study(archive: Path, tmp_path: Path, language_model: Callable[[str], Path]) -> None:
    """A tiny Llama becomes a ranker of items: trained, aligned to pairs of ours and to their winners alone, ranked."""
    flags = ["--retriever", "sasrec", "--language-models", str(language_model("llama")), "--seeds", "1"]
    flags += ["--pairs-by", "retriever"]
    flags += ["--ranker", "items", "--llm-overrides", "items.layers=1,items.features=8,align.negatives=3"]
    done = finish_study(archive, tmp_path, *flags, study="orpo")
    study = tmp_path / "study"
    names = {
        f"llama-seed1-{part}{ranking}"
        for part in ("finetuned", "aligned", "winners") for ranking in ("", "-ranking")
    }  # fmt: skip
    assert {path.name for path in (study / "language-models").iterdir()} == {"pairs", *names}
    assert started(done.stdout).count("mine_preferences") == 1
    pairs = json.loads((study / "language-models" / "pairs" / "counts.json").read_text())
    assert pairs["settings"] == {"retriever": {"model": "sasrec", "seed": 0}}
    aligned = json.loads((study / "language-models" / "llama-seed1-aligned" / "ranker.json").read_text())
    assert aligned["training"]["pairs_by"] == "retriever"
    control = json.loads((study / "language-models" / "llama-seed1-winners" / "ranker.json").read_text())
    assert (aligned["winners_alone"], control["winners_alone"]) == (False, True)
    assert control["recipe"] == aligned["recipe"]
    rows = json.loads((study / "results.json").read_text())
    ranked = {(row["model"], row["seed"]) for row in rows if row["model"].startswith("items ")}
    assert {seed for _, seed in ranked} == {1}
    assert {"items finetuned", "items aligned+retriever", "items winners"} <= {row["model"] for row in rows}
    assert "\n## What alignment changed\n" in (study / "report.md").read_text()
    assert (study / "report.html").is_file()
    assert study_metrics(tmp_path)

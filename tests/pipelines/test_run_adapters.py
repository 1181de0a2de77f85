"""The adapter study on this machine, whole."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ssm4rec.studies.adapters.plan import SCALES
from tests.pipelines.studies import finish_study


@pytest.mark.slow
def test_adapter_study(archive: Path, tmp_path: Path, language_model: Callable[[str], Path]) -> None:
    """A tiny Llama, fine-tuned by USGM at every scale; each fine-tuning is kept apart."""
    flags = ["--retriever", "sasrec", "--language-model", str(language_model("llama")), "--optimizers", "usgm"]
    flags += ["--llm-overrides", "finetune.negatives=5,finetune.prompts=8"]
    done = finish_study(archive, tmp_path, *flags, study="adapters")
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    assert sorted(row["scale"] for row in rows) == sorted(SCALES["usgm"])
    assert "**usgm** at" in done.stdout
    assert {path.name for path in (study / "language-models").iterdir()} == {
        f"llama-seed0-finetuned-usgm-{scale:g}" for scale in SCALES["usgm"]
    }
    assert (study / "figures" / "adapter-loss.csv").is_file()

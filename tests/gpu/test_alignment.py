"""On a GPU: an alignment as the paper's profile does it, in bfloat16 and on weights of 4 bits (`make test-gpu`)."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ssm4rec.artifacts.curve import HELD_OUT
from ssm4rec.llm.adapters import new_ranker
from ssm4rec.llm.alignment import AlignmentTask, align, arguments
from ssm4rec.llm.sources import Quantization
from ssm4rec.recipes.rankers import ranker_recipe
from tests.llm.test_alignment import examples

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("quantization", ["none", "nf4"])
def test_alignment(quantization: Quantization, language_model, tmp_path: Path) -> None:
    """Paged AdamW, accumulation 4, activations computed again, on the tiny Llama; more than its learning rate only."""
    recipe = ranker_recipe("paper")
    settings = replace(recipe.align, steps=replace(recipe.align.steps, batch=2, learning_rate=3e-2, warmup=1))
    ranker = new_ranker(
        str(language_model("llama")), quantization, recipe.finetune.lora, tmp_path, torch.device("cuda")
    )
    task = AlignmentTask(examples(), settings, 1)
    alignment = align(ranker, task, tmp_path / "checkpoints", lambda point: None)
    held_out = [point.values["log_odds_ratio"] for point in alignment.points if point.split == HELD_OUT]
    assert held_out[-1] > held_out[0]
    assert arguments(task, tmp_path, torch.device("cuda")).optim == "paged_adamw_32bit"
    assert alignment.peak_memory_bytes > 0

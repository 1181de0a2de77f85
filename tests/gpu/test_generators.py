"""On a GPU: generators trained in bfloat16, and their queries, on a sequence that is certain (`make test-gpu`)."""

from pathlib import Path

import pytest

from ssm4rec.artifacts.generations import GenerationSummary
from ssm4rec.stages.evaluate_generator import __main__ as evaluating
from ssm4rec.stages.train_generator import __main__ as training
from tests.stages.test_generator_stages import evaluation_flags, process, training_flags

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("model", ["gpt4rec", "mamrec"])
def test_a_generator_learns_the_circle(model: str, cycle_dataset: Path, add_titles, tmp_path: Path) -> None:
    dataset, device = add_titles(cycle_dataset), ("--device", "cuda")
    changes = "scratch.width=64,scratch.layers=2,training.epochs=30,training.examples=4,search.new_tokens=16"
    process(training, *training_flags(dataset, tmp_path, *device, "--overrides", changes, model=model))
    process(evaluating, *evaluation_flags(dataset, tmp_path / "generator", tmp_path, *device))
    summary = GenerationSummary.read(tmp_path / "metrics")
    assert summary.device == "cuda"
    assert next(row.value for row in summary.rows if row.metric == "mrr@10") > 0.8

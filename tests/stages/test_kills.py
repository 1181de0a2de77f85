"""A stage that resumes, killed at any file operation, ends with the same command again with equal outputs.

The ordinary tests kill the fine-tuning at the operations around its checkpoints; ``pytest -m slow`` every training, and
recommend_all, at every operation and at random moments.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

from ssm4rec.artifacts.candidates import write_candidates
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.preferences import write_pairs
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.artifacts.ranks import Origin
from ssm4rec.llm.adapters import new_ranker, write_adapter
from ssm4rec.llm.preferences import lightfm_pairs
from ssm4rec.llm.settings import LoraSettings
from tests.datasets import write_dataset_folder
from tests.language_models import write_titles
from tests.llm.test_ranking import candidates_for
from tests.trained_models import write_random_model

TUNING = (
    "finetune.negatives=3,finetune.prompts=24,finetune.steps.batch=2,finetune.steps.accumulation=2,finetune.evaluations=3,"
    "finetune.validation_users=8,finetune.lora.rank=2,finetune.steps.learning_rate=0.003"
)
ALIGNMENT = (
    "align.pairs=0,align.negatives=3,align.steps.warmup=1,align.steps.learning_rate=1e-2,align.evaluations=2,"
    "align.steps.batch=2,align.steps.accumulation=2"
)

TRAININGS = ("finetune_llm", "align_llm", "train_generator", "train_recommender")

Sweep = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, language_model: Callable[[str], Path]) -> Path:
    """A data set with titles, a retriever's candidates, pairs, and an adapter."""
    folder = tmp_path_factory.mktemp("inputs")
    write_titles(
        write_dataset_folder(folder / "dataset", [[(u + step) % 20 + 1 for step in range(8)] for u in range(16)])
    )
    write_random_model(folder / "dataset", folder / "model", "sasrec", 0.1)
    data = read_sequences(folder / "dataset")
    found = candidates_for(data, "validation")
    ranking = SimpleNamespace(
        users=found.users,
        first=numpy.ones(len(found.users), dtype=bool),
        candidates=found.items,
        candidate_scores=found.scores,
        unmasked_candidates=numpy.tile(numpy.arange(1, 21), (len(found.users), 1)),
    )
    write_candidates(folder / "candidates.parquet", Origin(data, found.model, found.seed, found.split), ranking, {})
    losers = (data.items[data.offsets[:-1]] - 2) % 20 + 1
    pairs, _ = lightfm_pairs(data, losers, lambda users, items: numpy.zeros(len(users), numpy.float32))
    write_pairs(folder / "pairs.parquet", data, pairs)
    source = str(language_model("llama"))
    torch.manual_seed(0)
    ranker = new_ranker(source, "none", LoraSettings(dropout=0.0), folder, torch.device("cpu"))
    facts = RankerFacts(
        source=source, quantization="none", stage="finetune_llm", dataset=data.name, fingerprint=data.fingerprint,
        seed=0, profile="smoke", retriever="sasrec", recipe={"finetune": {"prompts": 8}}, training={"prompts": 8},
    )  # fmt: skip
    write_adapter(folder / "adapter", ranker.model, facts)
    return folder


@pytest.fixture
def sweep(inputs: Path, language_model: Callable[[str], Path], tmp_path: Path) -> Sweep:
    """Return a function that kills a stage at these operations, or at every one, and at so many random moments."""
    common = ["--dataset-dir", str(inputs / "dataset")]
    flags = {
        "finetune_llm": [
            "--candidates", str(inputs / "candidates.parquet"), "--language-model", str(language_model("llama")),
            "--overrides", TUNING, "--adapter-dir", "{out}/adapter", "--curve", "{out}/curve",
        ],
        "align_llm": [
            "--pairs", str(inputs / "pairs.parquet"), "--adapter-dir", str(inputs / "adapter"),
            "--overrides", ALIGNMENT,
            "--aligned-dir", "{out}/aligned", "--curve", "{out}/curve",
        ],
        "train_generator": ["--model", "gpt4rec", "--generator-dir", "{out}/generator", "--curve", "{out}/curve"],
        "train_recommender": [
            "--model", "sasrec", "--overrides", "training.epochs=3", "--model-dir", "{out}/model",
            "--curve", "{out}/curve",
        ],
    }  # fmt: skip
    flags = {stage: ["--profile", "smoke", *own] for stage, own in flags.items()}
    flags["recommend_all"] = ["--model-dir", str(inputs / "model"), "--users-per-shard", "3", "--k", "4"]
    flags["recommend_all"] += ["--recommendations-dir", "{out}/lists"]

    def run(stage: str, kills: list[int] | None, at_random: int) -> dict[str, Any]:
        plan = {
            "module": f"ssm4rec.stages.{stage}.__main__",
            "flags": [*common, *flags[stage]],
            "kills": kills,
            "random": at_random,
        }
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        command = [sys.executable, "-m", "tests.kill_sweep", str(tmp_path / "plan.json"), str(tmp_path)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


def check(found: dict[str, Any]) -> None:
    for kill in found["kills"]:
        assert (kill["resumed"], kill["differing"], kill["left"]) == (0, [], []), kill


def test_finetuning_survives_kills_around_its_checkpoints(sweep: Sweep) -> None:
    """At such moments, in and around a checkpoint, earlier versions did not resume, or to another result."""
    found = sweep("finetune_llm", [24, 36, 54, 66], 0)
    assert found["outputs"] == [f"adapter/{name}" for name in (
        ".ssm4rec.json", "adapter_config.json", "adapter_model.safetensors", "ranker.json")] + ["curve"]  # fmt: skip
    assert all(kill["killed"] == -9 for kill in found["kills"])
    check(found)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", ["finetune_llm", "align_llm", "train_generator", "train_recommender", "recommend_all"]
)
def test_every_stage_that_resumes_survives_every_kill(sweep: Sweep, stage: str) -> None:
    found = sweep(stage, None, 12)
    print(f"{stage}: {found['operations']} file operations, {len(found['kills'])} kills")
    check(found)

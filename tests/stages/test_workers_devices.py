"""Processes of ``--workers`` compute as the stage's own does: what ``choose_device`` sets holds in each."""

import pickle
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

from ssm4rec.stages.evaluate.__main__ import run as run_evaluation
from ssm4rec.stages.evaluate.settings import Settings as EvaluateSettings
from ssm4rec.stages.recommend_all.__main__ import run as run_recommendations
from ssm4rec.stages.recommend_all.settings import Settings as RecommendSettings
from tests.datasets import write_dataset_folder
from tests.trained_models import write_random_model

PROGRAM = """
import pickle, resource, sys, torch
do, parts, folder = pickle.load(sys.stdin.buffer)
done = [(part, do(part)) for part in parts]
for _ in range(10):
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**24)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
pickle.dump((done, faults), open(f"{folder}/done", "wb"))
"""
PAGES = 20 * 2**26 // 4096
"""Of 20 tensors of 64 MiB: as many page faults if freed memory is not kept."""


def evaluate(dataset: Path, model: Path, folder: Path) -> None:
    outputs = [f"--{name}={folder / name}" for name in ("ranks", "candidates", "metrics")]
    told = [f"--dataset-dir={dataset}", f"--model-dir={model}", "--device=cpu", "--workers=2", *outputs]
    run_evaluation(EvaluateSettings.parser().parse_args(told))


def recommend(dataset: Path, model: Path, folder: Path) -> None:
    told = [f"--dataset-dir={dataset}", f"--model-dir={model}", "--device=cpu", "--workers=2", "--k=2"]
    run_recommendations(RecommendSettings.parser().parse_args([*told, f"--recommendations-dir={folder / 'out'}"]))


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
@pytest.mark.parametrize(
    ("stage", "module"),
    [(evaluate, "ssm4rec.evaluation.sharding"), (recommend, "ssm4rec.registry.all_users")],
)
def test_a_worker_keeps_freed_memory(
    stage: Callable[[Path, Path, Path], None], module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new process gets what an actor of Ray gets."""
    dataset = write_dataset_folder(tmp_path / "dataset", [[1, 2, 3, 4]] * 9)
    model = write_random_model(dataset, tmp_path / "model", "sasrec", 0.1)
    faults = []

    def in_another_process(do: Any, parts: Sequence[Any], workers: int, device: str) -> Iterator[Any]:
        assert (workers, device) == (2, "cpu")
        told = cloudpickle.dumps((do, parts, str(tmp_path)))  # as Ray does
        subprocess.run([sys.executable, "-c", PROGRAM], input=told, check=True)
        done, counted = pickle.loads((tmp_path / "done").read_bytes())
        faults.append(counted)
        yield from done

    monkeypatch.setattr(f"{module}.in_parts", in_another_process)
    stage(dataset, model, tmp_path)
    assert len(faults) == 1
    assert faults[0] < PAGES / 10

"""The parts of ``make gpu-proof``, each a process: ``python -m tests.gpu_proof.parts NAME ...``.

A part writes OUT/NAME.json after every measurement, so that one that is ended keeps what it found.
"""

import argparse
import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from xml.etree import ElementTree

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.latency.host import describe
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.recommenders import histories, recipe
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.files import read_json, write_json
from ssm4rec.settings.command_line import StageParser, run_stage
from ssm4rec.training.device import choose_device, choose_kernels
from ssm4rec.training.distributed import Distributed, process_group
from ssm4rec.training.epochs import EpochRow
from ssm4rec.training.loop import train
from ssm4rec.training.model_folder import write_model
from ssm4rec.training.task import Task
from tests.datasets import write_dataset_folder

_PACKAGES: Final = ("torch", "triton", "mamba_ssm", "causal_conv1d", "transformers", "trl", "peft", "bitsandbytes")


@dataclass(frozen=True)
class Size:
    """What is measured: everything on a GPU, a rehearsal of it on a CPU."""

    profile: str
    users: int
    few: int  # users of the short trainings
    items: int
    epochs: int  # at most
    tests: tuple[str, ...]
    latency: dict[str, Any]  # settings of measure_latency
    shapes: tuple[str, ...]  # of language models, from ``llamarec.py``
    steps: int  # of their training, at most
    ranked: int  # prompts


SIZES: Final = {
    "cuda": Size(
        "paper", 6040, 300, 3416, 200, ("-m", "gpu", "tests/gpu"), {"single_users": 100, "lengths": "50,200,1000,5000"},
        ("SmolLM2-135M", "TinyLlama-1.1B", "Llama-2-7b"), 30, 64,
    ),
    "cpu": Size(
        "smoke", 40, 20, 30, 3, ("tests/training/test_device.py",),
        {"samples": 5, "users": 2, "batches": "2", "lengths": "20"}, ("tiny",), 1, 4,
    ),
}  # fmt: skip


class Part:
    """A part that runs: where it computes and writes, for how long, and what it found."""

    def __init__(self, name: str, out: Path, device: str, seconds: float, source: str) -> None:
        self.name, self.out, self.source = name, out, source
        self.device, self.size = choose_device(device), SIZES[device]
        self._end = time.monotonic() + seconds
        self.found: dict[str, Any] = {}

    @property
    def left(self) -> float:
        """Seconds until the part should be done."""
        return self._end - time.monotonic()

    def record(self, name: str, found: Any) -> None:
        """Write down what was found."""
        self.found[name] = found
        write_json(self.out / f"{self.name}.json", {"found": self.found})

    def measure(self, name: str, work: Callable[[], Any]) -> None:
        """Record what some work returns, or what this machine lacks for it; another error ends the part."""
        gc.collect()  # a Trainer and its callback hold each other, and a model on the GPU
        torch.cuda.empty_cache()
        try:
            found = work()
        except (InputError, ImportError, torch.OutOfMemoryError) as error:
            found = {"lacking": reason(error)}
        self.record(name, found)

    def peak_bytes(self) -> int:
        """Return the most memory of the GPU since the last call; 0 on a CPU."""
        if self.device.type != "cuda":
            return 0
        peak = torch.cuda.max_memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        return peak

    def dataset(self, users: int = 0) -> Path:
        """Return the dataset folder, or one of so many generated users; the first part that needs it makes it."""
        name = f"generated-{users or self.size.users}" if users or not self.source else "ml-1m"
        folder = self.out / "data" / name
        if not folder.exists() and name == "ml-1m":
            flags = ("--dataset=ml-1m", f"--source={self.source}", "--any-checksum=true", f"--dataset-dir={folder}")
            subprocess.run([sys.executable, "-m", "ssm4rec.stages.prepare_data", *flags], check=True)
        elif not folder.exists():
            folder.parent.mkdir(exist_ok=True)
            with TemporaryDirectory(dir=self.out) as made:
                walks = generate(users or self.size.users, self.size.items)
                write_dataset_folder(Path(made) / name, walks, name).rename(folder)
        return folder


def generate(users: int, items: int) -> list[list[int]]:
    """Return histories as long as MovieLens-1M's, in which half of the events follow from the one before."""
    rng = numpy.random.default_rng(0)
    after, walks = rng.permutation(items).tolist(), []
    for length in rng.lognormal(4.55, 1.0, users).clip(20, 2300).astype(int):
        walk, follows = rng.integers(0, items, length).tolist(), rng.random(length) < 0.5
        for place in range(1, length):
            walk[place] = after[walk[place - 1]] if follows[place] else walk[place]
        walks.append([item + 1 for item in walk])
    return walks


def machine(part: Part) -> None:
    """Say what is measured on."""
    part.record("machine", describe(part.device))
    part.record("packages", {found.name: found.version for found in distributions() if found.name in _PACKAGES})
    if part.device.type == "cuda":
        asked = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total,power.limit", "--format=csv")
        part.record("nvidia-smi", subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines())


def tests(part: Part) -> None:
    """Run the tests that need a GPU; fail if one fails."""
    report = part.out / "tests.xml"
    status = pytest.main(["-q", "-rs", f"--junitxml={report}", *part.size.tests])
    part.record("results", read_results(report))
    if status:
        sys.exit(int(status))


def read_results(report: Path) -> dict[str, Any]:
    """Return the counts of pytest's JUnit file, and what each test said that did not pass."""
    suite = next(ElementTree.parse(report).iter("testsuite"))
    found: dict[str, Any] = {
        "counts": {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    }
    for kind in ("failure", "error", "skipped"):
        said = [(case.attrib["name"], note) for case in suite.iter("testcase") for note in case.findall(kind)]
        found[kind] = {name: note.attrib["message"][:300] for name, note in said}
    return found


def recommender(part: Part) -> None:
    """Compare kernels and precisions in short trainings, then train with the fastest for as long as there is time."""
    few, whole = read_sequences(part.dataset(part.size.few)), read_sequences(part.dataset())
    for kernels in ("fused", "torch"):
        for precision in ("bf16", "fp32"):
            name = f"{kernels} {precision}"
            part.measure(name, partial(_training, part, name, few, kernels, precision, epochs=2))
    measured = [row for row in part.found.values() if "lacking" not in row]
    if measured:
        best = min(measured, key=lambda row: row["seconds_per_epoch"])
        expected = best["seconds_per_epoch"] * whole.train_length.sum() / few.train_length.sum()
        # The published rate is constant, so that fewer epochs are the same training, ended earlier.
        epochs = min(part.size.epochs, max(2, int(0.7 * part.left / expected)))
        work = partial(_training, part, "training", whole, best["kernels"], best["precision"], epochs=epochs)
        part.measure("training", work)


def _training(
    part: Part, name: str, dataset: SequenceDataset, kernels: str, precision: Any, *, epochs: int
) -> dict[str, Any]:
    """Train for at least two epochs, of which the first one's time does not count; keep the model."""
    row: dict[str, Any] = {"kernels": kernels, "precision": precision, "users": dataset.user_count}
    ends: list[float] = []
    rows: list[EpochRow] = []

    def on_epoch(epoch: EpochRow) -> None:
        ends.append(time.monotonic())
        rows.append(epoch)
        best = max(rows, key=lambda row: row.validation_ndcg_10)
        row.update({"epochs": len(rows), "best_epoch": best.epoch, "targets": epoch.targets, "loss": epoch.train_loss})
        row.update({"validation_hit@10": best.validation_hit_10, "validation_ndcg@10": best.validation_ndcg_10})
        if len(rows) > 1:
            row["seconds_per_epoch"] = statistics.median(numpy.diff(ends).tolist())
            row["targets_per_second"] = epoch.targets / row["seconds_per_epoch"]
        part.record(name, row)

    choose_kernels(kernels, part.device)
    chosen = recipe(part.name, part.size.profile, histories(dataset), f"training.epochs={epochs}")
    task = Task(part.name, chosen, dataset, seed=0)
    part.peak_bytes()
    with process_group(Distributed(part.device, precision)) as distributed, TemporaryDirectory(dir=part.out) as folder:
        trained = train(task, distributed, Path(folder), on_epoch)
    write_model(part.out / "models" / dataset.name / part.name, task, trained, {}, profile=part.size.profile)
    return {**row, "stopped": trained.stopped, "peak_bytes": part.peak_bytes()}


def llamarec(part: Part) -> None:
    """Train language models of random weights, and rank with them."""
    from tests.gpu_proof.llamarec import measure_language_models  # transformers and peft take seconds to import

    measure_language_models(part)


def latency(part: Part) -> None:
    """Time the trained recommenders as the stage does."""
    from ssm4rec.stages.measure_latency import __main__ as stage

    dataset = part.dataset()
    models = tuple(sorted((part.out / "models" / read_sequences(dataset).name).glob("*")))
    if not models:
        raise InputError(f"{part.out}: no trained recommender; run the parts {','.join(MODELS)} first")
    summary, samples = part.out / "latency-summary.json", part.out / "latency-samples.parquet"
    written = {"summary": summary, "latency": samples}
    stage.run(
        stage.Settings(dataset_dir=dataset, models=models, device=part.device.type, **written, **part.size.latency)
    )
    part.record("summary", read_json(summary))


PARTS: Final[dict[str, Callable[[Part], None]]] = {
    "machine": machine, "tests": tests, **dict.fromkeys(MODELS, recommender), "llamarec": llamarec, "latency": latency,
}  # fmt: skip


def _parser() -> StageParser:
    parser = StageParser("tests.gpu_proof.parts", "Run one part of make gpu-proof.")
    parser.add_argument("name", choices=PARTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", choices=SIZES, required=True)
    parser.add_argument("--seconds", type=float, required=True, help="after which it should be done")
    parser.add_argument("--source", default="")
    return parser


def _run(options: argparse.Namespace) -> None:
    PARTS[options.name](Part(**vars(options)))


if __name__ == "__main__":
    run_stage(_parser(), _run)

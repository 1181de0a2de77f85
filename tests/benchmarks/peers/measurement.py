"""What all runners share: their arguments, the training data, the clock, and the line they print.

A runner trains one model for a while in an environment of its own and prints one line of JSON. This module is imported
in each of them, so it needs argparse, numpy, pyarrow and torch only.

What is measured is CPU time of training steps, batches included: imports, data preparation and validation are outside.
A target is a position whose next item enters the loss; padding never counts.

Shapes: U users, V items, B batch, L length.
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy
import pyarrow.parquet
import torch


def read_arguments(models: tuple[str, ...], batch_size: int, batch_unit: str) -> argparse.Namespace:
    """Parse the command line that all runners have, limit torch to one thread and seed it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--dataset", type=Path, required=True, help="dataset folder that prepare_data wrote")
    parser.add_argument("--model", choices=models, default=models[0])
    parser.add_argument("--maximum-length", type=int, required=True, help="most items of a history")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--batch-size", type=int, default=batch_size, help=f"in {batch_unit}")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so many CPU seconds of training")
    parser.add_argument("--epochs", type=int, default=1000, help="stop after so many passes over the data")
    parser.add_argument("--until-ndcg", type=float, help="validate every epoch, stop at this validation NDCG@10")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.dataset = options.dataset.resolve()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    return options


@dataclass(frozen=True)
class Sequences:
    """The users' items in time order, 1..V, and where their splits lie."""

    items: list[numpy.ndarray]
    train_length: numpy.ndarray
    validation_position: numpy.ndarray
    item_count: int

    def training(self) -> list[numpy.ndarray]:
        """Return the training items of every user who has at least two."""
        pairs = zip(self.items, self.train_length, strict=True)
        return [items[:length] for items, length in pairs if length >= 2]


def read_sequences(folder: Path) -> Sequences:
    """Read a dataset folder; its layout is described in components/ssm4rec/artifacts/dataset.py."""
    table = pyarrow.parquet.read_table(folder / "sequences.parquet").combine_chunks()
    lists = table.column("items").chunk(0)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    return Sequences(
        items=numpy.split(lists.flatten().to_numpy().astype(numpy.int64), lists.offsets.to_numpy()[1:-1]),
        train_length=table.column("train_length").to_numpy(),
        validation_position=table.column("validation_position").to_numpy(),
        item_count=manifest["counts"]["items"],
    )


def validation_ndcg(
    sequences: Sequences, max_length: int, score: Callable[[torch.Tensor], torch.Tensor], rows: int = 256
) -> float:
    """Return NDCG@10 of the validation targets over the whole catalog, the history's items not removed.

    Args:
        sequences: the data; a target's history is everything before it.
        max_length: L, the most items of a history that are shown.
        score: takes histories (B, L), padded on the left with 0, and returns a score for each item 1..V, (B, V).
        rows: B.
    """
    users = numpy.flatnonzero(sequences.validation_position >= 1)
    gains = 0.0
    for start in range(0, len(users), rows):
        batch = users[start : start + rows]
        histories = numpy.zeros((len(batch), max_length), dtype=numpy.int64)
        targets = numpy.zeros(len(batch), dtype=numpy.int64)
        for row, user in enumerate(batch):
            position = sequences.validation_position[user]
            shown = sequences.items[user][max(0, position - max_length) : position]
            histories[row, -len(shown) :] = shown
            targets[row] = sequences.items[user][position]
        scores = score(torch.from_numpy(histories))
        ranks = (scores >= scores.gather(1, torch.from_numpy(targets)[:, None] - 1)).sum(dim=1)
        gains += torch.where(ranks <= 10, 1 / torch.log2(ranks + 1), 0.0).sum().item()
    return gains / len(users)


class Clock:
    """CPU seconds of training and the targets trained in them; it stands still during validation."""

    def __init__(self, seconds: float) -> None:
        self.budget = seconds
        self.targets = self.steps = 0
        self.cpu_seconds = 0.0
        self.epochs: list[dict[str, float]] = []
        self._started = 0.0

    def start(self) -> None:
        """Begin or go on."""
        self._started = time.process_time()

    def stop(self) -> None:
        """Stand still until the next start."""
        self.cpu_seconds += time.process_time() - self._started

    def step(self, targets: int) -> bool:
        """Count a finished training step; say whether the budget is spent."""
        self.steps += 1
        self.targets += targets
        return self.cpu_seconds + time.process_time() - self._started >= self.budget

    def epoch(self, ndcg: float) -> None:
        """Note the validation after a finished epoch; the clock stands still."""
        self.epochs.append({"cpu_seconds": self.cpu_seconds, "targets": self.targets, "ndcg_10": ndcg})


def report(options: argparse.Namespace, package: str, clock: Clock, parameters: int) -> None:
    """Print the measurement as one line of JSON, the last line of the runner's output."""
    line = {
        "peer": package,
        "version": version(package),
        "torch": torch.__version__,
        "model": options.model,
        "dataset": options.dataset.name,
        "max_length": options.max_length,
        "batch_size": options.batch_size,
        "parameters": parameters,
        "steps": clock.steps or None,  # our loop does not say
        "targets": clock.targets,
        "cpu_seconds": clock.cpu_seconds,
        "epochs": clock.epochs,
    }
    print(json.dumps(line), flush=True)

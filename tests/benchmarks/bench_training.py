"""How fast the recommenders train, and what their parts cost: ``make bench-training``.

Synthetic users with sequence lengths like ML-1M's (log-normal, mean about 165) and its 3,416 items; one thread.
It prints CPU time and asserts nothing. Ratios carry over to other machines, milliseconds do not.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy
import torch

from ssm4rec.contracts import MODELS
from ssm4rec.data.dataset import SequenceDataset
from ssm4rec.ops.ssd import ssd_chunked
from ssm4rec.recipes import recipe
from ssm4rec.training.loop import Task, train
from ssm4rec.training.losses import full_softmax_loss

ITEMS = 3416
TOKENS = 3200


def synthetic_dataset(users: int) -> SequenceDataset:
    """Return users of random items with lengths like ML-1M's, split leave-one-out."""
    random = numpy.random.default_rng(0)
    lengths = random.lognormal(4.55, 1.0, users).clip(20, 2300).astype(numpy.int64)
    return SequenceDataset(
        name="synthetic",
        fingerprint="synthetic",
        item_count=ITEMS,
        items=random.integers(1, ITEMS + 1, lengths.sum(), dtype=numpy.int32),
        offsets=numpy.concatenate([[0], lengths.cumsum()]),
        train_length=(lengths - 2).astype(numpy.int32),
        validation_position=(lengths - 2).astype(numpy.int32),
        test_position=(lengths - 1).astype(numpy.int32),
    )


def milliseconds(work: Callable[[], torch.Tensor], runs: int = 15) -> float:
    """Return the median CPU time of forward and backward, after three runs that do not count."""
    times = []
    for _ in range(runs + 3):
        started = time.process_time()
        work().sum().backward()
        times.append(time.process_time() - started)
    return 1e3 * statistics.median(times[3:])


def bench_models(users: int) -> None:
    """Print what an epoch of each model costs, validation included."""
    dataset = synthetic_dataset(users)
    for name in MODELS:
        task = Task(name, recipe(name, "best", dataset.name, "training.epochs=2"), dataset, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            first, second = train(task, torch.device("cpu"), Path(folder), lambda row: None).progress.epochs
        seconds = second.cpu_seconds - first.cpu_seconds
        print(
            f"{name:12} epoch with validation {seconds:6.1f} cpu-s, {second.targets / seconds:8,.0f} targets a cpu-s, "
            f"fill {100 * second.fill:.1f}%"
        )


def bench_parts() -> None:
    """Print what the softmax and the SSD cost for a batch of 3,200 tokens."""
    hidden = torch.randn(TOKENS, 64, requires_grad=True)
    vectors = torch.randn(ITEMS, 64, requires_grad=True)
    targets = torch.randint(1, ITEMS + 1, (TOKENS,))
    cost = milliseconds(lambda: full_softmax_loss(hidden, vectors, targets))
    print(f"full softmax, {TOKENS} x {ITEMS}                {cost:6.1f} ms")
    x = torch.randn(32, 100, 4, 32, requires_grad=True)
    dt = torch.rand(32, 100, 4, requires_grad=True)
    b, c = (torch.randn(32, 100, 32, requires_grad=True) for _ in range(2))
    decay = -torch.rand(4) * 16
    for chunk in (16, 20, 25, 32, 50, 64, 100):
        cost = milliseconds(lambda: ssd_chunked(x, dt, decay, b, c, chunk))  # noqa: B023 - called at once
        print(f"SSD, 32 x 100, H 4, P 32, N 32, chunk {chunk:3}  {cost:6.1f} ms")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description="Measure training on synthetic data of ML-1M's shape.")
    parser.add_argument("--users", type=int, default=1000, help="users of the synthetic data; ML-1M has 6,040")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench_parts()
    bench_models(options.users)


if __name__ == "__main__":
    main()

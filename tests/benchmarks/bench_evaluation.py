"""What full ranking costs beside the bare product of hidden states and item vectors: ``make bench-evaluation``.

Random hidden states of width 64 in place of a model, and synthetic users of two shapes: ML-1M's (6,040 users, 3,416
items, histories of 165 on average, up to 2,300) and Video Games' (26,000 items, histories of 8). The floor is the
product alone, over the same batches. Rates are users a second: CPU time on a CPU, one thread; each ratio to the floor
is the median over runs of the two in turn.
"""

import statistics
from functools import partial

import numpy
import torch
from measure import Row, command_line, cost, report
from torch import Tensor

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.names import CANDIDATES_PER_USER
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.training.device import choose_device

WIDTH = 64
MAX_LENGTH = 200


def synthetic_dataset(
    users: int, items: int, typical: float, spread: float, bounds: tuple[int, int]
) -> SequenceDataset:
    """Return users of random items, split leave-one-out; lengths are log-normal within ``bounds``."""
    random = numpy.random.default_rng(0)
    lengths = random.lognormal(numpy.log(typical), spread, users).clip(*bounds).astype(numpy.int64)
    return SequenceDataset(
        name="synthetic",
        fingerprint="synthetic",
        item_count=items,
        items=random.integers(1, items + 1, lengths.sum(), dtype=numpy.int32),
        offsets=numpy.concatenate([[0], lengths.cumsum()]),
        train_length=(lengths - 2).astype(numpy.int32),
        validation_position=(lengths - 2).astype(numpy.int32),
        validation_targets=numpy.ones(len(lengths), dtype=numpy.int32),
        test_position=(lengths - 1).astype(numpy.int32),
        test_targets=numpy.ones(len(lengths), dtype=numpy.int32),
    )


def bench(dataset: SequenceDataset, device: torch.device, runs: int) -> list[Row]:
    """Return the rates of the floor, of the ranks of both protocols, and of these with the candidates."""
    hidden = torch.randn(dataset.user_count, WIDTH, device=device)
    vectors = torch.randn(dataset.item_count, WIDTH, device=device)
    batches: list[int] = []

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:
        batches.append(len(items))
        return hidden[: len(items)] @ vectors.T

    def floor(rows: list[int]) -> None:
        for count in rows:
            _ = hidden[:count] @ vectors.T

    rank = partial(full_ranking, score, dataset, "test", MAX_LENGTH, device)
    rank()
    alone = partial(floor, list(batches))
    works = {
        "floor: the product alone": alone,
        "ranks": rank,
        f"ranks and {CANDIDATES_PER_USER} candidates": partial(rank, CANDIDATES_PER_USER),
    }
    rows = []
    for name, work in works.items():
        pairs = [(cost(alone, device), cost(work, device)) for _ in range(runs + 2)][2:]
        rows.append(
            {
                "work": name,
                "ms": statistics.median(spent for _, spent in pairs),
                "users a s": round(statistics.median(1e3 * dataset.user_count / spent for _, spent in pairs)),
                "of the floor": statistics.median(spent / least for least, spent in pairs),
            }
        )
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = command_line("Measure full ranking beside the bare matrix product.", runs=9)
    parser.add_argument("--users", type=int, default=3000, help="users of the second shape; ML-1M's has its 6,040")
    options = parser.parse_args()
    device = choose_device(options.device)
    shapes = {
        "ML-1M's shape": synthetic_dataset(6040, 3416, 102, 1.0, (20, 2300)),
        "Video Games' shape": synthetic_dataset(options.users, 26_000, 5.5, 0.8, (5, 300)),
    }
    for name, dataset in shapes.items():
        title = f"full ranking, {name}: {dataset.user_count:,} users, {dataset.item_count:,} items"
        report(title, bench(dataset, device, options.runs), device, options.output)


if __name__ == "__main__":
    main()

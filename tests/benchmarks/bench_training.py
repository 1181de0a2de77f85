"""How fast the recommenders train, and what their parts cost: ``make bench-training``.

Synthetic users with sequence lengths like ML-1M's (log-normal, mean about 165) and its 3,416 items; one thread on a
CPU. It prints times and asserts nothing. Ratios carry over to other machines, milliseconds do not.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy
import torch
from measure import Row, alternate, command_line, report, training_step
from torch import Tensor

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.models.table import MODELS
from ssm4rec.ops.ssd import ssd_chunked
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.device import choose_device
from ssm4rec.training.distributed import Distributed, choose_precision
from ssm4rec.training.loop import train
from ssm4rec.training.losses import Repeats, SeenItems, full_softmax_loss
from ssm4rec.training.task import Task

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
        validation_targets=numpy.ones(len(lengths), dtype=numpy.int32),
        test_position=(lengths - 1).astype(numpy.int32),
        test_targets=numpy.ones(len(lengths), dtype=numpy.int32),
    )


def bench_epochs(users: int, device: torch.device) -> list[Row]:
    """Return what an epoch of each model costs, validation included."""
    dataset = synthetic_dataset(users)
    distributed = Distributed(device, choose_precision("auto", device))
    tokens = TOKENS if device.type == "cpu" else 65_536
    rows = []
    for name in MODELS:
        chosen = recipe(name, "best", "long", f"training.epochs=2,training.tokens_per_batch={tokens}")
        ends: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            task = Task(name, chosen, dataset, seed=0)
            trained = train(task, distributed, Path(folder), lambda _, ends=ends: ends.append(time.monotonic()))
        first, second = trained.progress.epochs
        spent = second.cpu_seconds - first.cpu_seconds
        rows.append(
            {
                "model": name,
                "epoch cpu-s": spent,
                "epoch wall s": ends[1] - ends[0],
                "targets a cpu-s": second.targets / spent,
                "fill": second.fill,
            }
        )
    return rows


def bench_steps(device: torch.device, runs: int) -> list[Row]:
    """Return a step's cost in plain rows and packed ones: the same histories, eight of 50 items to a row of 400."""
    rows = []
    plain = torch.randint(1, ITEMS + 1, (TOKENS // 50, 50), device=device)
    packed, marks = plain.view(-1, 400), torch.arange(8, device=device).repeat_interleave(50).expand(TOKENS // 400, -1)
    works: dict[str, Callable[[], None]] = {}
    for name in MODELS:
        model = recipe(name, "best", "long", "model.max_length=400").model.build(ITEMS).to(device)
        works[name] = training_step(lambda model=model: model(plain))
        works[f"{name} packed"] = training_step(lambda model=model: model(packed, marks))
    spent = alternate(works, device, runs)
    for name in MODELS:
        ratio = spent[f"{name} packed"] / spent[name]
        rows.append({"model": name, "rows ms": spent[name], "packed ms": spent[f"{name} packed"], "ratio": ratio})
    return rows


def bench_parts(device: torch.device, runs: int) -> list[Row]:
    """Return what the softmax and the SSD cost for a batch of 3,200 tokens, the softmax beside its matrix products."""

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, device=device, requires_grad=True)

    hidden, vectors = draw(TOKENS, 64), draw(ITEMS, 64)
    targets = torch.randint(1, ITEMS + 1, (TOKENS,), device=device)
    rows, steps = torch.ones(TOKENS // 200, 200, device=device).nonzero(as_tuple=True)  # histories of 200 items
    repeats = Repeats(
        torch.zeros((), device=device, requires_grad=True), SeenItems(targets.view(-1, 200), rows, steps + 1)
    )
    slope = torch.randn(76, ITEMS, device=device)  # of as many rows as a chunk of the loss has

    def products() -> None:
        with torch.no_grad():
            for start in range(0, TOKENS, 76):
                part = hidden[start : start + 76]
                _ = part @ vectors.T, slope[: len(part)] @ vectors, slope[: len(part)].T @ part

    x, dt, decay = draw(32, 100, 4, 32), torch.rand(32, 100, 4, device=device), -torch.rand(4, device=device) * 16
    b, c = draw(32, 100, 32), draw(32, 100, 32)
    works: dict[str, Callable[[], None]] = {
        f"full softmax, {TOKENS} x {ITEMS}": training_step(lambda: full_softmax_loss(hidden, vectors, targets)),
        "with a repeat term": training_step(lambda: full_softmax_loss(hidden, vectors, targets, repeats)),
        "its three matrix products": products,
    }
    for chunk in (20, 25, 34, 50, 100):
        name = f"SSD, 32 x 100, H 4, P 32, N 32, chunk {chunk}"
        works[name] = training_step(lambda chunk=chunk: ssd_chunked(x, dt, decay, b, c, chunk_size=chunk)[0])
    return [{"part": name, "ms": spent} for name, spent in alternate(works, device, runs).items()]


def bench_repeat_term(users: int, device: torch.device, runs: int) -> list[Row]:
    """Return what the repeat term adds to an epoch's steps and to full ranking: ratios of medians, in turn."""
    dataset = synthetic_dataset(users)
    distributed = Distributed(device, choose_precision("auto", device))
    rows = []
    for name in MODELS:
        epochs: dict[str, list[float]] = {"with": [], "without": []}
        rankings: dict[str, Callable[[], None]] = {}
        for _ in range(runs):
            for term, spent in epochs.items():
                changes = f"training.epochs=2,model.repeat_term={str(term == 'with').lower()}"
                task = Task(name, recipe(name, "best", "long", changes), dataset, seed=0)
                with tempfile.TemporaryDirectory() as folder:
                    trained = train(task, distributed, Path(folder), lambda _: None)
                first, second = trained.progress.epochs
                spent.append(second.cpu_seconds - first.cpu_seconds)
                model = trained.model
                rank = partial(full_ranking, model.score_next, dataset, "test", model.max_length, device)
                rankings[term] = lambda rank=rank: rank() and None
        ranked = alternate(rankings, device, max(runs, 5))
        rows.append(
            {
                "model": name,
                "epoch with / without": statistics.median(epochs["with"]) / statistics.median(epochs["without"]),
                "ranking with / without": ranked["with"] / ranked["without"],
            }
        )
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = command_line("Measure training on synthetic data of ML-1M's shape.", runs=9)
    parser.add_argument("--users", type=int, default=1000, help="users of the synthetic data; ML-1M has 6,040")
    options = parser.parse_args()
    device = choose_device(options.device)
    report("parts of a step", bench_parts(device, options.runs), device, options.output)
    report("a step without its loss, 3,200 tokens", bench_steps(device, options.runs), device, options.output)
    report("the repeat term", bench_repeat_term(options.users // 4, device, 3), device, options.output)
    report("training, profile best", bench_epochs(options.users, device), device, options.output)


if __name__ == "__main__":
    main()

"""What every user's recommendations cost beside the bare product of hidden states and items: ``make bench-recommend``.

Random weights of the sizes of ``quick``, and synthetic users of Video Games' shape (26,000 items, histories of 8). The
floor is the product alone, over batches of as many users as scores fit. Rates are users per second of CPU time, one
thread; each ratio to the floor is the median over runs of the two in turn.

``--actors 1,2`` has all users' lists written by so many actors of Ray instead, where it is installed: users per second
by the wall clock, from the moment at which each has done a part, so that Ray's start is not in it.
"""

import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy
import pyarrow
import torch
from bench_evaluation import synthetic_dataset
from measure import Row, command_line, cost, report

from ssm4rec.artifacts.codec import write_table
from ssm4rec.evaluation.full_ranking import SCORE_CELLS
from ssm4rec.models.recommender import Recommender
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.registry.all_users import Wanted
from ssm4rec.runtime.ray_workers import on_ray
from ssm4rec.settings.command_line import whole_numbers
from ssm4rec.training.device import choose_device

PARTS = 24
"""A multiple of the numbers of actors: else some would wait at the end."""


def bench(wanted: Wanted, models: dict[str, Recommender], device: torch.device, runs: int) -> list[Row]:
    """Return the rates of the floor, and of the lists of each model with their file."""
    users, item_count = len(wanted.rows), len(wanted.item_ids)
    rows = SCORE_CELLS[device.type] // item_count
    vectors = next(iter(models.values())).item_vectors()
    hidden = torch.randn(rows, vectors.shape[1], device=device)

    def floor() -> None:
        for start in range(0, users, rows):
            _ = hidden[: min(rows, users - start)] @ vectors.T

    def write(model: Recommender) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write_table(Path(folder) / "part.parquet", wanted.table(model, 0, users))

    works = {"floor: the product alone": floor, **{name: partial(write, model) for name, model in models.items()}}
    found = []
    with torch.no_grad():
        for name, work in works.items():
            pairs = [(cost(floor, device), cost(work, device)) for _ in range(runs + 1)][1:]
            found.append(
                {
                    "work": name,
                    "users a s": round(statistics.median(1e3 * users / spent for _, spent in pairs)),
                    "of the floor": statistics.median(spent / least for least, spent in pairs),
                }
            )
    return found


def by_actors(wanted: Wanted, model: Recommender, actors: int) -> Row:
    """Return the rate of so many actors of Ray."""
    users = len(wanted.rows)
    size = users // PARTS
    with tempfile.TemporaryDirectory() as folder:

        def write(start: int) -> None:
            write_table(Path(folder) / f"{start}.parquet", wanted.table(model, start, start + size))

        done = [time.monotonic() for _ in on_ray(write, range(0, PARTS * size, size), actors, "cpu")]
    rate = (PARTS - actors) * size / (done[-1] - done[actors - 1])
    return {"work": f"{actors} actors of Ray", "users a s": round(rate)}


def main() -> None:
    """Run the benchmark."""
    parser = command_line("Measure recommendations for all users beside the bare matrix product.", runs=3)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--actors", type=whole_numbers(1), default=(), metavar="N,...", help="measure these instead")
    options = parser.parse_args()
    device = choose_device(options.device)
    dataset = synthetic_dataset(options.users, 26_000, 5.5, 0.8, (5, 300))
    ids = pyarrow.array([f"item{item}" for item in range(26_000)], pyarrow.large_string())
    users = pyarrow.array([f"user{user}" for user in range(options.users)], pyarrow.large_string())
    wanted = Wanted(dataset, users, numpy.arange(options.users), ids, None, 10, masked=True)
    torch.manual_seed(0)
    models = {
        name: recipe(name, "quick", "short").model.build(dataset.item_count, None).eval().to(device)
        for name in ("sasrec", "2mamba4rec")
    }
    title = f"10 recommendations each, Video Games' shape: {options.users:,} users, 26,000 items"
    if options.actors:
        rows = [by_actors(wanted, models["sasrec"], actors) for _ in range(options.runs) for actors in options.actors]
    else:
        rows = bench(wanted, models, device, options.runs)
    report(title, rows, device, options.output)


if __name__ == "__main__":
    main()

"""What measuring latency costs, and how well it repeats: ``make bench-latency``.

Every recommender of the ``best`` recipe with random weights, on users of ML-1M's shape (``bench_evaluation.py``).

- Overhead at batch 64: the cost of the harness (CPU time on a CPU) beside that of the same requests answered in a bare
  loop, in turns, the median of the ratios; and the share of its wall time that lies outside of what it times.
- On a CPU, the bare loop before and after freed memory is kept (``ssm4rec/training/device.py``), one after the other.
- Two whole measurements of the protocol, with fewer users: how far their medians lie apart, and whether the machine
  was idle.
"""

import statistics
import time
from dataclasses import asdict
from functools import partial

import torch
from bench_evaluation import synthetic_dataset
from measure import Row, alternate, command_line, cost, report

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.evaluation.full_ranking import best_items
from ssm4rec.latency.host import others_cores, read_clocks
from ssm4rec.latency.meter import meter_of
from ssm4rec.latency.protocol import TOP_K, Protocol, draw_users
from ssm4rec.latency.summary import mark_outliers, results
from ssm4rec.latency.timing import Measurement, Request, Subject, Task, measure_users, user_requests
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.device import choose_device
from ssm4rec.training.distributed import Distributed

BATCH = 64


def subjects(dataset: SequenceDataset, device: torch.device) -> list[Subject]:
    """Return every recommender on the device."""
    made = []
    for name in MODELS:
        chosen = recipe(name, "best", "long")
        config = {"model": name, "profile": "best", "seed": 0, "recipe": asdict(chosen)}
        made.append(Subject(chosen.model.build(dataset.item_count).to(device).eval(), config))
    return made


@torch.inference_mode()
def bare(subject: Subject, requests: list[Request]) -> None:
    """Answer the requests without a clock; a GPU's answer is there before the next request comes."""
    for request in requests:
        best_items(subject.model.score_next(request.items, request.lengths), TOP_K)[1].cpu()


def overhead(dataset: SequenceDataset, device: torch.device, runs: int) -> list[Row]:
    """Return the harness's cost beside the bare loop's, a row a model."""
    protocol = Protocol(users=2 * BATCH, single_users=1, batches=(BATCH,), warm_up=0)
    users = draw_users(dataset, protocol)[0]
    measurement = Measurement(protocol, Distributed(device), "auto", meter_of(device))
    rows = []
    for subject in subjects(dataset, device):
        requests = list(user_requests(dataset, users, BATCH, subject.model.max_length, device))
        task = Task(subject, "full", BATCH)
        timed: list[float] = []

        def harness(task: Task = task, requests: list[Request] = requests, timed: list[float] = timed) -> None:
            started = time.perf_counter()
            seconds = measurement.answer(task, requests).seconds.sum()
            timed.append(1 - seconds / (time.perf_counter() - started))

        works = [partial(bare, subject, requests), harness]
        pairs = []
        for run in range(runs + 1):  # either goes first in every other turn; the first turn does not count
            order = (0, 1) if run % 2 else (1, 0)
            spent = {which: cost(works[which], device) for which in order}
            pairs.append((spent[0], spent[1]))
        rows.append(
            {
                "model": subject.name,
                "bare loop ms": statistics.median(least for least, _ in pairs[1:]),
                "harness of it": statistics.median(spent / least for least, spent in pairs[1:]),
                "of the harness untimed": statistics.median(timed[1:]),
            }
        )
    return rows


def bare_costs(dataset: SequenceDataset, device: torch.device, runs: int) -> dict[str, float]:
    """Return the milliseconds of the bare loop over two requests, by model: the median of ``runs``."""
    users = draw_users(dataset, Protocol(users=2 * BATCH, single_users=1, batches=(BATCH,)))[0]
    return {
        subject.name: alternate({"bare": partial(bare, subject, requests)}, device, runs)["bare"]
        for subject in subjects(dataset, device)
        for requests in [list(user_requests(dataset, users, BATCH, subject.model.max_length, device))]
    }


def keeping_memory(dataset: SequenceDataset, runs: int) -> list[Row]:
    """Return the bare loop's cost as glibc would have it, and with freed memory kept from then on, a row a model."""
    given_back = bare_costs(dataset, torch.device("cpu"), runs)
    kept = bare_costs(dataset, choose_device("cpu"), runs)
    return [
        {"model": name, "given back ms": before, "kept ms": kept[name], "ratio": kept[name] / before}
        for name, before in given_back.items()
    ]


def repeated(dataset: SequenceDataset, device: torch.device, samples: int) -> list[Row]:
    """Return the medians of two measurements, a row a model and mode."""
    protocol = Protocol(samples=samples, users=2 * BATCH, single_users=16, batches=(BATCH, 1))
    tested, found = subjects(dataset, device), []
    before = read_clocks()
    for _ in range(2):
        measurement = Measurement(protocol, Distributed(device), "auto", meter_of(device))
        measure_users(measurement, tested, dataset)
        found.append(results(mark_outliers(measurement.rows), protocol.seed))
    others = others_cores(before, read_clocks())
    return [
        {
            "model": first.model,
            "mode": first.mode,
            "batch": first.batch,
            "first ms a user": 1e3 * first.median.value,
            "second ms a user": 1e3 * second.median.value,
            "second of first": second.median.value / first.median.value,
            "outliers": f"{first.outliers}, {second.outliers} of {first.samples}",
            "cores of others": "-" if others is None else others,
        }
        for first, second in zip(*found, strict=True)
    ]


def main() -> None:
    """Run the benchmark."""
    parser = command_line("Measure the harness of measure_latency, and how well it repeats.", runs=9)
    parser.add_argument("--samples", type=int, default=15, help="of each of the two measurements")
    options = parser.parse_args()
    dataset = synthetic_dataset(6040, 3416, 102, 1.0, (20, 2300))
    if options.device == "cpu":
        report("freed memory", keeping_memory(dataset, options.runs), torch.device("cpu"), options.output)
    device = choose_device(options.device)
    report(f"the harness at batch {BATCH}", overhead(dataset, device, options.runs), device, options.output)
    report("two measurements", repeated(dataset, device, options.samples), device, options.output)


if __name__ == "__main__":
    main()

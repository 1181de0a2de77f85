"""What answers cost a CPU: seconds of one thread on it, in rounds of their own after the timed samples.

Two runs of the study's quick protocol while other work took a core or more: the CPU-seconds of the timed samples, with
two threads and their mean, differed by up to 5.4 times, since a thread that waits for another spins, and longer where
both cores are wanted. With one thread they differed by 4% at most. Hence: one thread, every model answers once a round
in an order drawn for each, ``ROUNDS`` rounds, and the median of the rounds. One uncounted pass comes before the first
round, the protocol's warm-up requests before each. A GPU's cost is its time, which the timed samples have.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import torch

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.latency.timing import Measurement, Subject, measure_users

ROUNDS: Final = 9
USERS: Final = 256
"""Of a round, or as many as the largest request has: more add nothing that nine rounds do not."""

COST_RULE: Final = (
    f"seconds that one thread was on a CPU for the timed parts, median of {ROUNDS} rounds after the timed samples, in "
    "each of which every model answers once, in random order"
)


def measure_cost(measurement: Measurement, subjects: Sequence[Subject], dataset: SequenceDataset) -> None:
    """Add the rows of kind ``cost`` to a measurement; none on a GPU or without batches."""
    protocol = measurement.protocol
    if measurement.distributed.device.type != "cpu" or not protocol.batches:
        return
    users = min(protocol.users, max(USERS, *protocol.batches))
    single_users = min(protocol.single_users, USERS)
    shorter = replace(protocol, samples=ROUNDS, users=users, single_users=single_users)
    rounds = Measurement(shorter, measurement.distributed, measurement.kernels, measurement.meter)
    with computing_threads(1):
        measure_users(rounds, subjects, dataset, "cost")
    before = len(measurement.rows)
    measurement.rows += [replace(row, order=before + row.order) for row in rounds.rows]


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Compute with ``count`` threads, 0: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""What answers cost a CPU: seconds of one thread on it, in rounds of their own after the timed samples.

With two threads, the CPU-seconds of the timed samples of two runs of the study's quick protocol differed by up to 5.4
times while other work took a core: a thread that waits for another spins, and longer where both cores are wanted. Hence
one thread; every model answers the same users once a round, in an order drawn for each; of every request the least of
the ``ROUNDS`` rounds counts (what is above it, others caused: cold caches after each of their turns; ``timeit``'s rule,
too); and these are added up. Three runs while eight processes wanted two cores: 12 of 14 rows within 10%, the others
within 16%; by medians 4 of 14, the others within 34%. The others were rows of a single request of a millisecond: a
round now has at least ``REQUESTS`` requests of each size, where there are users for them: two runs next to processes
that took 1.3 of the two cores, 14 of 14 rows within 10%. One uncounted pass comes before the first round, one warm-up
request before each. A GPU's cost is its time, which the timed samples have.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

import torch

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.latency.timing import Measurement, Subject, measure_users

ROUNDS: Final = 15
USERS: Final = 256
"""Of a round, or as many as ``REQUESTS`` of the largest have."""
REQUESTS: Final = 4

COST_RULE: Final = (
    "seconds that one thread was on a CPU for the timed parts, in rounds after the timed samples in which every model "
    f"answers the same users, in random order; of a request the fastest of its {ROUNDS} rounds counts"
)


def measure_cost(measurement: Measurement, subjects: Sequence[Subject], dataset: SequenceDataset) -> None:
    """Add the rows of kind ``cost`` to a measurement; none on a GPU or without batches."""
    protocol = measurement.protocol
    if measurement.distributed.device.type != "cpu" or not protocol.batches:
        return
    users = max(min(protocol.users, USERS), REQUESTS * max(protocol.batches))
    if not protocol.with_replacement:
        users = min(users, int((dataset.test_position > 0).sum()))
    single_users = min(protocol.single_users, USERS)
    warm_up = min(protocol.warm_up, 1)  # the least of many rounds needs no more
    shorter = replace(protocol, samples=ROUNDS, users=users, single_users=single_users, warm_up=warm_up)
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

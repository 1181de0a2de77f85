"""What is timed, and for whom.

The paper (section 3.4.1): "30 samples comprising 1500 users randomly chosen from the original dataset were used to
individually measure the latency values. Following the removal of outliers, the distribution of the latencies was
examined, and the confidence intervals were computed." It names no batch size, no warm-up and no rule for outliers.
"""

from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset
from ssm4rec.runtime.errors import InputError

SAMPLES: Final = 30
"""Of the paper."""

USERS: Final = 1500
"""Of a sample, the paper's."""

BATCHES: Final = (256, 64, 1)
"""The paper's batch is unknown: 256 stands in its place. 64 is a server that gathers requests, 1 one that does not."""

TOP_K: Final = 10
"""The paper's metrics look at ten suggestions."""

FEWEST_SAMPLES: Final = 5
"""An interval from fewer samples says nothing."""


@dataclass(frozen=True)
class Protocol:
    """Sizes of a measurement, as measure_latency's settings describe them; every model answers the same samples."""

    samples: int = SAMPLES
    users: int = USERS
    single_users: int = USERS
    batches: tuple[int, ...] = BATCHES
    warm_up: int = 1
    with_replacement: bool = False
    lengths: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < FEWEST_SAMPLES:
            raise InputError(f"--samples {self.samples}: at least {FEWEST_SAMPLES}, or there is no interval")
        if not 1 <= self.single_users <= self.users:
            raise InputError(f"--single-users {self.single_users}: from 1 to the {self.users} of --users")
        if not self.batches and not self.lengths:
            raise InputError("--batches: none; name at least one, such as 64, or --lengths for the sweep alone")
        for batch in self.batches:
            if not 1 <= batch <= self.users:
                raise InputError(
                    f"--batches {batch}: from 1 to the {self.users} users of a sample; name smaller batches, or raise "
                    f"--users {self.users}"
                )
        if any(length < 1 for length in self.lengths):
            raise InputError(f"--lengths {','.join(map(str, self.lengths))}: each at least 1")

    def users_at(self, batch: int) -> int:
        """Return how many users of a sample are timed at a batch size."""
        return self.single_users if batch == 1 else self.users


def draw_users(dataset: SequenceDataset, protocol: Protocol) -> list[Int64s]:
    """Return the users of every sample, each (users,), in random order, of those with a test target.

    Raise InputError if there are fewer than a sample needs.
    """
    eligible = numpy.flatnonzero(dataset.test_position > 0)
    if not len(eligible):
        raise InputError(f"data set {dataset.name}: no user has a test target; split it otherwise (--splitting)")
    if len(eligible) < protocol.users and not protocol.with_replacement:
        raise InputError(
            f"--users {protocol.users}: only {len(eligible)} users of {dataset.name} have a test target; draw them "
            f"with replacement (--with-replacement true) or fewer (--users {len(eligible)})"
        )
    rng = numpy.random.default_rng([protocol.seed, 0])
    return [rng.choice(eligible, protocol.users, replace=protocol.with_replacement) for _ in range(protocol.samples)]

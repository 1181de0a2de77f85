"""The events of all users in blocks, since what is made of all of them at once may not fit a process."""

from collections.abc import Iterator
from typing import Any, Final

import numpy
from numpy.typing import NDArray

GROUP_EVENTS: Final = 1 << 24
"""Of a row group of sequences: 64 MiB of items."""
BLOCK_EVENTS: Final = 1 << 20
"""Of what is looked at together."""


def user_blocks(offsets: NDArray[numpy.int64], events: int) -> Iterator[slice]:
    """Yield users, one block after the other, who have up to ``events`` together; one user who has more alone.

    User u owns events ``offsets[u]:offsets[u + 1]``; (U + 1,).

    >>> list(user_blocks(numpy.array([0, 2, 3, 9, 10]), 3))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    start, users = 0, len(offsets) - 1
    while start < users:
        reached = int(numpy.searchsorted(offsets, offsets[start] + events, side="right")) - 1
        stop = max(start + 1, reached)
        yield slice(start, stop)
        start = stop


def training_flags(lengths: NDArray[numpy.integer[Any]], train_length: NDArray[numpy.int32]) -> NDArray[numpy.bool_]:
    """Return which events are for training, user after user: the first ``train_length`` of ``lengths``; each (U,).

    >>> training_flags(numpy.array([3, 2]), numpy.array([1, 2]))
    array([ True, False, False,  True,  True])
    """
    # A byte per event, where each event's place in its sequence would take 8.
    runs = numpy.stack([train_length, lengths - train_length], axis=1).ravel()
    found: NDArray[numpy.bool_] = numpy.repeat(numpy.tile([True, False], len(lengths)), runs)
    return found

"""Which events repeat an item that the user had before, and how many do.

Shapes: N events of all users, U users.
"""

from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.artifacts.dataset import Flags, Int32s, Int64s, SequenceDataset

BLOCK: Final = 1_000_000
"""Events that are looked at together."""


@dataclass(frozen=True)
class TrainingRepeats:
    """What the training items say about repeats.

    Attributes:
        targets: training items with a history, one at least.
        repeated: those of them that are in their history.
        items_had: different items in a target's history, on average; 0 without targets.
    """

    targets: int
    repeated: int
    items_had: float


def repeats(users: Int32s | Int64s, items: Int32s) -> Flags:
    """Return which events are of an item that the user had before.

    ``users`` and ``items`` are of the events, each user's in their order, (N,).

    >>> repeats(numpy.array([0, 0, 0, 1, 1]), numpy.array([7, 8, 7, 7, 9])).tolist()
    [False, False, True, False, False]
    """
    keys = users.astype(numpy.int64) * (int(items.max(initial=0)) + 1) + items
    order = numpy.argsort(keys, kind="stable")
    flags = numpy.zeros(len(keys), dtype=bool)
    flags[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    return flags


def training_repeats(dataset: SequenceDataset) -> TrainingRepeats:
    """Count the repeats among the training items, by blocks of users: all at once would take 50 bytes per event."""
    counted = [_counted(part) for part in dataset.parts(BLOCK)]
    targets, repeated, had = numpy.sum(counted, axis=0).tolist() if counted else (0, 0, 0)
    return TrainingRepeats(targets, repeated, had / targets if targets else 0.0)


def _counted(dataset: SequenceDataset) -> tuple[int, int, int]:
    """Return the targets, the repeated ones, and the different items before each, summed."""
    offsets = dataset.offsets
    lengths = numpy.diff(offsets)
    users = numpy.repeat(numpy.arange(dataset.user_count), lengths)
    first = offsets[users]  # of each event, its user's first
    place = numpy.arange(len(users)) - first
    targets = (place > 0) & (place < dataset.train_length[users])
    again = repeats(users, dataset.items)
    new: Int64s = numpy.cumsum(~again)
    # Different items before an event: the user's new ones so far, less the event's own. A user's first event is new.
    had = new - new[first] + 1 - ~again
    return int(targets.sum()), int(again[targets].sum()), int(had[targets].sum())

"""What a model reads before each target: windows of a user's items, shared by targets that follow one another.

A target that stands alone is predicted from the last L items before it. Targets that follow one another
(``--time-target successive``) share windows of up to L items, so that a causal model gives their scores in one pass
over each: a target is predicted from its whole history where that has at most L items, otherwise from at least the
last L / 2. A window for each of them would cost up to L / 2 times as much. What a target is predicted from is the same
for every model; one that is not causal reads each target's part of a window separately.

Shapes: T targets, W windows.
"""

from dataclasses import dataclass

import numpy

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, Split


@dataclass(frozen=True)
class TargetWindows:
    """The targets of a split, and the windows that they are predicted from.

    Attributes:
        users: of the targets, ascending, (T,).
        places: of the targets in their user's items: how many items their history has, ascending within a user, (T,).
        starts: where each window begins in ``SequenceDataset.items``, (W,).
        lengths: of the windows, in items, (W,).
        windows: of the targets, ascending, (T,).
        read: how many of the window's first items come before the target, (T,).
    """

    users: Int64s
    places: Int64s
    starts: Int64s
    lengths: Int64s
    windows: Int64s
    read: Int64s


def target_windows(dataset: SequenceDataset, split: Split, max_length: int, *, shared: bool) -> TargetWindows:
    """Lay windows of at most L items over the histories of a split's targets.

    Not ``shared``, every target has a window of its own, which begins where the shared one begins and ends before it.
    """
    users, places = dataset.targets(split)
    firsts = numpy.flatnonzero(numpy.diff(users, prepend=-1))  # of each user
    lasts = numpy.append(firsts[1:], len(users)) - 1
    starts = numpy.zeros_like(places)  # of the targets' windows, among their user's items
    opens = numpy.zeros(len(users), dtype=bool)
    step = max(1, max_length // 2)
    while len(firsts):
        # All targets whose whole history fits into a window, or as many as leave the first of them L / 2 items.
        fits = places[firsts] <= max_length
        reach = numpy.where(fits, max_length, places[firsts] + step - 1)
        ends = numpy.minimum(lasts, firsts + reach - places[firsts])
        opens[firsts] = True
        starts[firsts] = numpy.maximum(0, places[ends] - max_length)
        more = ends < lasts
        firsts, lasts = ends[more] + 1, lasts[more]
    windows = numpy.cumsum(opens) - 1
    starts = starts[opens][windows]
    read = places - starts
    if not shared:
        return TargetWindows(users, places, dataset.offsets[users] + starts, read, numpy.arange(len(users)), read)
    closes = numpy.append(opens[1:], True)
    return TargetWindows(users, places, (dataset.offsets[users] + starts)[opens], read[closes], windows, read)

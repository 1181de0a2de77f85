"""Where training, validation and test lie in each user's sequence, whose order ``data/event_order.py`` decides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy

from ssm4rec.artifacts.dataset import Int32s, Int64s, read_sequences, target_places
from ssm4rec.artifacts.interactions import read_times
from ssm4rec.artifacts.names import SUCCESSIVE
from ssm4rec.runtime.errors import InputError

Float64s = numpy.ndarray[tuple[int], numpy.dtype[numpy.float64]]

TARGET_SEED: Final = 0
"""Draws the targets of global-time's ``random``."""

# A user with fewer items could not have one each for training, validation and test.
_LEAST_FOR_EVALUATION: Final = 3


@dataclass(frozen=True)
class Split:
    """Positions in each user's sequence; shape (U,) each, the meaning as in ``artifacts/dataset.py``.

    ``facts`` are what the manifest says of global-time: the times (ms) where the validation and the test period begin,
    and which events are targets; of leave-one-out there are none.
    """

    train_length: Int32s
    validation_position: Int32s
    validation_targets: Int32s
    test_position: Int32s
    test_targets: Int32s
    facts: dict[str, Any]


def tested_places(offsets: Int64s, split: Split) -> Int64s:
    """Return where the test targets lie among the events of all users, one after the other."""
    users, places = target_places(split.test_position, split.test_targets)
    found: Int64s = offsets[users] + places
    return found


def leave_one_out(offsets: Int64s) -> Split:
    """Make each user's last item the test target and the one before it the validation target.

    Users with fewer than three items are for training only. User u owns events ``offsets[u]:offsets[u + 1]``.

    >>> split = leave_one_out(numpy.array([0, 4, 6]))  # users with 4 and 2 items
    >>> split.train_length.tolist(), split.validation_position.tolist(), split.test_position.tolist()
    ([2, 2], [2, -1], [3, -1])
    """
    lengths = numpy.diff(offsets).astype(numpy.int32)
    evaluated = lengths >= _LEAST_FOR_EVALUATION
    one = evaluated.astype(numpy.int32)
    return Split(
        train_length=lengths - 2 * one,
        validation_position=numpy.where(evaluated, lengths - 2, -1).astype(numpy.int32),
        validation_targets=one,
        test_position=numpy.where(evaluated, lengths - 1, -1).astype(numpy.int32),
        test_targets=one,
        facts={},
    )


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raise InputError if two shares of the events leave nothing to a period."""
    if not (validation_fraction > 0 and test_fraction > 0 and validation_fraction + test_fraction < 1):
        raise InputError(
            f"--validation-fraction {validation_fraction} and --test-fraction {test_fraction} "
            "must be above 0 and below 1 together"
        )


def global_time(
    times: Int64s, offsets: Int64s, validation_fraction: float, test_fraction: float, time_target: str = SUCCESSIVE
) -> Split:
    """Cut all users' events at two moments: training < validation cut <= validation < test cut <= test.

    The cuts are the times at which the last ``test_fraction`` of all events, and the ``validation_fraction`` before it,
    begin; events at the very moment of a cut belong to the later period. A target's history is everything before it;
    users without an event in the period, or without one before it, are left out of it. Raise InputError if a period
    would be empty.

    User u owns ``times[offsets[u]:offsets[u + 1]]``, in time order; ``time_target`` is of ``names.TIME_TARGETS``.

    >>> times, offsets = numpy.array([1, 2, 9, 10, 3, 4, 5, 6, 7, 8]), numpy.array([0, 4, 10])
    >>> split = global_time(times, offsets, 0.2, 0.2, "first")
    >>> split.facts
    {'validation_from': 7, 'test_from': 9, 'time_target': 'first'}
    >>> split.train_length.tolist(), split.validation_position.tolist(), split.test_position.tolist()
    ([2, 4], [-1, 4], [2, -1])
    >>> global_time(times, offsets, 0.2, 0.2, "last").test_position.tolist()
    [3, -1]
    >>> global_time(times, offsets, 0.2, 0.2, "successive").test_targets.tolist()  # both from place 2 on
    [2, 0]
    """
    check_fractions(validation_fraction, test_fraction)
    first_test = round(len(times) * (1 - test_fraction))
    first_validation = round(len(times) * (1 - test_fraction - validation_fraction))
    if not 0 < first_validation < first_test < len(times):
        raise InputError(f"{len(times)} interactions are too few for --splitting global-time; use leave-one-out")
    ordered = numpy.partition(times, (0, first_validation, first_test))
    earliest, validation_from, test_from = (int(ordered[place]) for place in (0, first_validation, first_test))
    if not earliest < validation_from < test_from:
        raise InputError(
            "too many interactions share one time for --splitting global-time: a period would be empty; "
            "change --validation-fraction and --test-fraction or use leave-one-out"
        )
    before_validation = _count_before(validation_from, times, offsets)
    before_test = _count_before(test_from, times, offsets)
    rng = numpy.random.default_rng(TARGET_SEED)
    validation = _targets(before_validation, before_test, time_target, rng)
    test = _targets(before_test, numpy.diff(offsets).astype(numpy.int32), time_target, rng)
    return Split(
        before_validation,
        *validation,
        *test,
        facts={"validation_from": validation_from, "test_from": test_from, "time_target": time_target},
    )


def _targets(start: Int32s, stop: Int32s, time_target: str, rng: numpy.random.Generator) -> tuple[Int32s, Int32s]:
    """Return the place of each user's first target in a period, -1 for none, and the number of targets, each (U,).

    ``start`` and ``stop``: how many events a user has before the period, and before its end, (U,).
    """
    present = (stop > start) & (start > 0)
    match time_target:
        case "successive" | "first":
            first = start
        case "last":
            first = stop - 1
        case _:
            first = start + (rng.random(len(start)) * (stop - start)).astype(numpy.int32)
    number = stop - start if time_target == SUCCESSIVE else numpy.ones_like(start)
    return numpy.where(present, first, -1).astype(numpy.int32), numpy.where(present, number, 0).astype(numpy.int32)


def _count_before(moment: int, times: Int64s, offsets: Int64s) -> Int32s:
    """Count each user's events before ``moment``, shape (U,)."""
    running = numpy.concatenate([[0], numpy.cumsum(times < moment)])
    counts: Int32s = (running[offsets[1:]] - running[offsets[:-1]]).astype(numpy.int32)
    return counts


def later_training_shares(folder: Path) -> Float64s:
    """Return, for each user with a test target, the share of all training events that are later than the target.

    Events at the very time of the target are not later. The users are in the order of the dataset folder. Raise
    InputError if a file is missing or unreadable, or the two files are not of the same events.
    """
    dataset = read_sequences(folder)
    times = read_times(folder, dataset)
    starts = dataset.offsets[:-1]
    trained = numpy.sort(times[dataset.trained()])
    tested = dataset.test_position >= 0
    targets = times[starts[tested] + dataset.test_position[tested]]
    shares: Float64s = 1 - numpy.searchsorted(trained, targets, side="right") / len(trained)
    return shares

"""Where training, validation and test lie in each user's sequence, whose order ``data/event_order.py`` decides."""

from dataclasses import dataclass
from typing import Any, Final

import numpy

from ssm4rec.data.dataset import Int32s, Int64s
from ssm4rec.errors import InputError

# A user with fewer items could not have one each for training, validation and test.
_LEAST_FOR_EVALUATION: Final = 3


@dataclass(frozen=True)
class Split:
    """Positions in each user's sequence; shape (U,) each, the meaning as in ``data/dataset.py``.

    Attributes:
        cuts: the times (ms) where the validation and the test period begin; empty for leave-one-out.
    """

    train_length: Int32s
    validation_position: Int32s
    test_position: Int32s
    cuts: dict[str, Any]


def test_targets(offsets: Int64s, split: Split) -> Int64s:
    """Return where the test targets lie among the events of all users, one after the other."""
    tested = numpy.flatnonzero(split.test_position >= 0)
    places: Int64s = offsets[tested] + split.test_position[tested]
    return places


def leave_one_out(offsets: Int64s) -> Split:
    """Make each user's last item the test target and the one before it the validation target.

    Users with fewer than three items are for training only.

    Args:
        offsets: user u owns events ``offsets[u]:offsets[u + 1]``, shape (U + 1,).

    >>> split = leave_one_out(numpy.array([0, 4, 6]))  # users with 4 and 2 items
    >>> split.train_length.tolist(), split.validation_position.tolist(), split.test_position.tolist()
    ([2, 2], [2, -1], [3, -1])
    """
    lengths = numpy.diff(offsets).astype(numpy.int32)
    evaluated = lengths >= _LEAST_FOR_EVALUATION
    return Split(
        train_length=numpy.where(evaluated, lengths - 2, lengths),
        validation_position=numpy.where(evaluated, lengths - 2, -1).astype(numpy.int32),
        test_position=numpy.where(evaluated, lengths - 1, -1).astype(numpy.int32),
        cuts={},
    )


def check_fractions(validation_fraction: float, test_fraction: float) -> None:
    """Raise InputError if two shares of the events leave nothing to a period."""
    if not (validation_fraction > 0 and test_fraction > 0 and validation_fraction + test_fraction < 1):
        raise InputError(
            f"--validation-fraction {validation_fraction} and --test-fraction {test_fraction} "
            "must be above 0 and below 1 together"
        )


def global_time(times: Int64s, offsets: Int64s, validation_fraction: float, test_fraction: float) -> Split:
    """Cut all users' events at two moments: training < validation cut <= validation < test cut <= test.

    The cuts are the times at which the last ``test_fraction`` of all events, and the ``validation_fraction`` before
    it, begin; events at the very moment of a cut belong to the later period. A user's target in a period is their
    first event in it, the history everything before it; users without an event in the period, or without history,
    are left out of it.

    Args:
        times: each event's time, users one after the other, in time order within a user; shape (events,).
        offsets: user u owns ``times[offsets[u]:offsets[u + 1]]``, shape (U + 1,).

    Raises:
        InputError: a period would be empty.

    >>> split = global_time(numpy.array([1, 2, 9, 10, 3, 4, 5, 6, 7, 8]), numpy.array([0, 4, 10]), 0.2, 0.2)
    >>> split.cuts
    {'validation_from': 7, 'test_from': 9}
    >>> split.train_length.tolist(), split.validation_position.tolist(), split.test_position.tolist()
    ([2, 4], [-1, 4], [2, -1])
    """
    check_fractions(validation_fraction, test_fraction)
    first_test = round(len(times) * (1 - test_fraction))
    first_validation = round(len(times) * (1 - test_fraction - validation_fraction))
    if not 0 < first_validation < first_test < len(times):
        raise InputError(f"{len(times)} interactions are too few for --split global-time; use leave-one-out")
    ordered = numpy.partition(times, (0, first_validation, first_test))
    earliest, validation_from, test_from = (int(ordered[place]) for place in (0, first_validation, first_test))
    if not earliest < validation_from < test_from:
        raise InputError(
            "too many interactions share one time for --split global-time: a period would be empty; "
            "change --validation-fraction and --test-fraction or use leave-one-out"
        )
    lengths = numpy.diff(offsets)
    before_validation = _count_before(validation_from, times, offsets)
    before_test = _count_before(test_from, times, offsets)
    has_validation = (before_test > before_validation) & (before_validation > 0)
    has_test = (lengths > before_test) & (before_test > 0)
    return Split(
        train_length=before_validation,
        validation_position=numpy.where(has_validation, before_validation, -1).astype(numpy.int32),
        test_position=numpy.where(has_test, before_test, -1).astype(numpy.int32),
        cuts={"validation_from": validation_from, "test_from": test_from},
    )


def _count_before(moment: int, times: Int64s, offsets: Int64s) -> Int32s:
    """Count each user's events before ``moment``, shape (U,)."""
    running = numpy.concatenate([[0], numpy.cumsum(times < moment)])
    counts: Int32s = (running[offsets[1:]] - running[offsets[:-1]]).astype(numpy.int32)
    return counts

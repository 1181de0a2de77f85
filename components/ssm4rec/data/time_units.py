"""The unit of a file's times: seconds to nanoseconds since 1970, or numbers that only order events."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.data.bad_rows import NEGATIVE_TIME, BadRows, Mask, Problem
from ssm4rec.data.times import LATEST_SECOND, PER_SECOND, UNREADABLE, Times, to_microseconds
from ssm4rec.data.values import EXACT_UP_TO
from ssm4rec.runtime.errors import InputError

TIME_UNITS: Final = ("auto", "s", "ms", "us", "ns", "order")

# Seconds from 1973 (10^8) to 2200. Each unit's range ends before the next one's begins, so a number has one reading.
_EARLIEST_SECOND: Final = 10**8

ORDER: Final = "order"
DATE: Final = "date"
RANGES: Final = {
    ORDER: (0, _EARLIEST_SECOND),
    **{unit: (_EARLIEST_SECOND * per, LATEST_SECOND * per) for unit, per in PER_SECOND.items()},
}
_IN_NO_UNIT: Final = (
    "is not a time between 1973 and 2200 in s, ms, us or ns; choose another --time-column or set --time-unit"
)
_PLURALS: Final = {"number": "numbers", "date": "dates", "date with a zone": "dates with a time zone"}


@dataclass(frozen=True)
class FileTimes:
    """Times of a file in one unit.

    Attributes:
        values: microseconds since 1970, or order numbers; of the rows that stay.
        unit: what the numbers were: ``s``, ``ms``, ``us``, ``ns``, ``date`` or ``order``.
        likely_unit: what their size says they were, whatever the user says.
    """

    values: Int64s
    unit: str
    likely_unit: str
    good: Mask | None


def resolve_times(parts: Sequence[Times], unit: str, where: str, column: str, bad_rows: BadRows) -> FileTimes:
    """Join the batches of a file and bring them to microseconds.

    ``unit`` is of ``TIME_UNITS``; ``auto``: the one whose range from 1973 to 2200 holds most of the numbers. ``where``
    and ``column`` are for messages. Raise InputError if the numbers are not times in that unit, or some look like
    another unit.

    >>> resolve_times([Times(numpy.array([978300760]), "number")], "auto", "file", "t", BadRows()).values.tolist()
    [978300760000000]
    """
    spellings = list(dict.fromkeys(part.spelling for part in parts))
    if len(spellings) > 1:
        raise InputError(
            f"{where}, column {column}: some values are {_PLURALS[spellings[0]]} and some are "
            f"{_PLURALS[spellings[1]]}; write all times the same way"
        )
    numbers = numpy.concatenate([part.values for part in parts])
    if spellings[0] != "number":
        if unit not in ("auto", "ms"):
            raise InputError(f"{where}, column {column}: holds dates and times, not numbers; use --time-unit auto")
        return FileTimes(numbers, DATE, DATE, None)
    # Rows dropped before leave the others' places in the file unknown.
    first_row = None if bad_rows.dropped else 1
    likely = _likely_unit(numbers)
    chosen = likely if unit == "auto" else unit
    low, high = RANGES[chosen]
    if unit == "auto" or (unit != ORDER and bool(((numbers >= low) & (numbers < high)).any())):
        _check_one_unit(numbers, chosen, f"{where}, column {column}", first_row)
    good = bad_rows.good(_problems(numbers, chosen, unit == "auto", column), len(numbers), where, first_row)
    if good is not None:
        numbers = numbers[good]
    values = numbers.astype(numpy.int64) if chosen == ORDER else to_microseconds(numbers, chosen)
    return FileTimes(values, chosen, likely, good)


def in_milliseconds(times: Int64s, unit: str) -> Int64s:
    """Return times as the dataset folder holds them: whole milliseconds, or order numbers."""
    return times if unit == ORDER else times // 1000


def _check_one_unit(numbers: numpy.ndarray, chosen: str, where: str, first_row: int | None) -> None:
    """Raise InputError if a number looks like a time in another unit than the chosen: seconds among milliseconds."""
    for unit, (low, high) in RANGES.items():
        if unit in (chosen, ORDER):
            continue
        other = numpy.flatnonzero((numbers >= low) & (numbers < high))
        if len(other):
            others = "order numbers" if chosen == ORDER else f"times in {chosen}"
            row = "" if first_row is None else f", row {first_row + other[0]}"
            hint = ", or set --time-unit" if chosen == ORDER else ""
            raise InputError(
                f"{where}{row}: {numbers[other[0]]} looks like a time in {unit}, others "
                f"in the file like {others}; write all times in one unit{hint}"
            )


def _problems(numbers: numpy.ndarray, unit: str, guessed: bool, column: str) -> list[Problem]:
    def problem(reason: str, rows: Mask, what: str) -> Problem:
        return Problem(column, reason, rows, lambda index: f"not a time: {numbers[index]} {what}")

    low, high = RANGES[unit]
    found = [problem(NEGATIVE_TIME, numbers < 0, "is negative; remove such rows")]
    if unit == ORDER:
        fraction = (
            "has a fraction, and order numbers are whole; times are seconds (or ms, us, ns) since 1970; choose another "
            "--time-column or set --time-unit"
        )
        found.append(problem(UNREADABLE, numbers != numpy.rint(numbers), fraction))
        if numbers.dtype.kind == "f":
            wide = "is too large for a float to hold exactly; write the column as integers"
            found.append(problem(UNREADABLE, numbers >= EXACT_UP_TO[64], wide))
        if guessed:
            found.append(problem(UNREADABLE, numbers >= high, _IN_NO_UNIT))
    elif guessed:
        other = (
            f"is not a time between 1973 and 2200 in {unit}, as most are; remove such rows, or set --time-unit {unit}"
        )
        found.append(problem(UNREADABLE, (numbers < low) | (numbers >= high), other))
    else:
        found.append(problem(UNREADABLE, numbers >= high, f"{unit} is after the year 2200; correct --time-unit"))
    return found


def _likely_unit(numbers: numpy.ndarray) -> str:
    """Return the unit in whose range most of the numbers lie; ``order`` for small ones, or where none fits."""
    counts = {unit: int(((numbers >= low) & (numbers < high)).sum()) for unit, (low, high) in RANGES.items()}
    return max(counts, key=counts.__getitem__)

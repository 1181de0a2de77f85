"""The time column of events, in any of the usual spellings, as milliseconds since 1970 or as an order number."""

from collections.abc import Iterable
from typing import Final

import numpy
import pyarrow
import pyarrow.compute

from ssm4rec.data.dataset import Int64s
from ssm4rec.errors import InputError

TIME_UNITS: Final = ("auto", "s", "ms", "us", "ns", "order")

# Milliseconds in one unit, as a fraction that keeps integers exact: (multiply by, divide by).
_TO_MILLISECONDS: Final = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}

# Seconds from 1973 (10^8) to 2200. Each unit's range ends before the next one's begins, so a number has one reading.
_EARLIEST_SECOND: Final = 10**8
_LATEST_SECOND: Final = 7_258_118_400


def parse_times(column: pyarrow.Array, where: str, first_row: int) -> pyarrow.Array:
    """Turn one batch of a time column into an int64 or float64 array of numbers, or a timestamp[ms] array.

    Text may hold numbers or ISO 8601 dates and times; those without a zone are read as UTC.

    Args:
        where: file and column, for messages.
        first_row: the number of the batch's first row, for messages.

    Raises:
        InputError: a value is missing or is no time.
    """
    if column.null_count:
        row = first_row + pyarrow.compute.index(column.is_null(), True).as_py()
        raise InputError(f"{where}, row {row}: the time is missing; remove such rows or choose another --time-column")
    kind = column.type
    if pyarrow.types.is_integer(kind):
        # Unchecked: an unsigned number too large for a time becomes negative, which no unit accepts.
        return column.cast(pyarrow.int64(), safe=False)
    if pyarrow.types.is_floating(kind):
        finite = pyarrow.compute.is_finite(column)
        if not pyarrow.compute.all(finite, min_count=0).as_py():
            row = first_row + pyarrow.compute.index(finite, False).as_py()
            raise InputError(f"{where}, row {row}: not a time: {column[row - first_row]}; remove such rows")
        return column.cast(pyarrow.float64())
    if pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind):
        return column.cast(pyarrow.timestamp("ms", getattr(kind, "tz", None)), safe=False).cast(pyarrow.timestamp("ms"))
    if pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind):
        return _parse_text(column, where, first_row)
    raise InputError(f"{where}: not a time: the column is of type {kind}; choose another --time-column")


def _parse_text(column: pyarrow.Array, where: str, first_row: int) -> pyarrow.Array:
    parsed = _cast_text(column)
    if parsed is not None:
        return parsed
    # Only on the way to the error: find the value that spoils the batch.
    usual = None
    for row, value in enumerate(column, first_row):
        alone = _cast_text(pyarrow.array([value.as_py()]))
        if alone is None or (usual is not None and usual != pyarrow.types.is_timestamp(alone.type)):
            raise InputError(
                f"{where}, row {row}: not a time: {value.as_py()!r}; "
                "times are numbers or ISO 8601 texts; choose another --time-column"
            )
        usual = pyarrow.types.is_timestamp(alone.type)
    raise InputError(f"{where}: some texts name a time zone and some do not; write all times the same way")


def _cast_text(column: pyarrow.Array) -> pyarrow.Array | None:
    """Read texts as whole numbers, else as numbers, else as ISO 8601; None if none of them fits every value."""
    for kind in (pyarrow.int64(), pyarrow.float64(), pyarrow.timestamp("ns"), pyarrow.timestamp("ns", "UTC")):
        try:
            parsed = column.cast(kind)
        except pyarrow.ArrowInvalid:
            continue
        return parsed.cast(pyarrow.timestamp("ms"), safe=False) if pyarrow.types.is_timestamp(kind) else parsed
    return None


def resolve_times(parts: Iterable[pyarrow.Array], unit: str, where: str) -> tuple[Int64s, str]:
    """Join the batches of ``parse_times`` and bring them to one unit.

    Returns:
        The times, and what they are: ``ms`` since 1970, or ``order``, a number that only orders events.

    Raises:
        InputError: the numbers are no times in that unit, or, with ``auto``, in any unit.

    >>> resolve_times([pyarrow.array([978300760])], "auto", "file")[0].tolist()  # seconds
    [978300760000]
    >>> resolve_times([pyarrow.array([3, 4])], "auto", "file")  # a position in the user's history
    (array([3, 4]), 'order')
    """
    parts = list(parts)
    kinds = {pyarrow.types.is_timestamp(part.type) for part in parts}
    if len(kinds) > 1:
        raise InputError(f"{where}: some values are numbers and some are dates; write all times the same way")
    if kinds == {True}:
        if unit not in ("auto", "ms"):
            raise InputError(f"{where}: holds dates and times, not numbers; use --time-unit auto")
        return numpy.concatenate([part.cast(pyarrow.int64()).to_numpy() for part in parts]), "ms"
    numbers = numpy.concatenate([part.to_numpy() for part in parts])
    return _numbers_to_times(numbers, unit, where)


def _numbers_to_times(numbers: numpy.ndarray, unit: str, where: str) -> tuple[Int64s, str]:
    largest = numbers.max()
    if numbers.min() < 0:
        raise InputError(f"{where}: not a time: {numbers.min()} is negative; remove such rows")
    if unit == "auto":
        unit = _guess_unit(largest, where)
    if unit == "order":
        fractions = numbers[numbers != numpy.rint(numbers)]
        if len(fractions):
            raise InputError(
                f"{where}: not a time: {fractions[0]}; times are seconds (or ms, us, ns) since 1970, and order numbers "
                "are whole; choose another --time-column or set --time-unit"
            )
        return numbers.astype(numpy.int64), unit
    multiply, divide = _TO_MILLISECONDS[unit]
    if largest * (multiply / divide) > _LATEST_SECOND * 1000:
        raise InputError(f"{where}: not a time: {largest} {unit} is after the year 2200; correct --time-unit")
    if numbers.dtype.kind == "i":
        return numbers * multiply // divide, "ms"
    return numpy.rint(numbers * (multiply / divide)).astype(numpy.int64), "ms"


def _guess_unit(largest: float, where: str) -> str:
    if largest < _EARLIEST_SECOND:
        return "order"
    for unit, per_second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        if _EARLIEST_SECOND * per_second <= largest < _LATEST_SECOND * per_second:
            return unit
    raise InputError(
        f"{where}: not a time: {largest} is no time between 1973 and 2200 in s, ms, us or ns; "
        "choose another --time-column or set --time-unit"
    )

"""The time column of events, in any of the usual spellings, as numbers or as microseconds since 1970."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy
import polars
import pyarrow
import pyarrow.compute

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.data.bad_rows import Mask, Problem
from ssm4rec.data.streams import excerpt
from ssm4rec.data.values import EXACT_UP_TO, is_text, plain, read_texts
from ssm4rec.runtime.errors import InputError

PER_SECOND: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}

LATEST_SECOND: Final = 7_258_118_400
# Dates may be older than computers' clocks. The year 1 and the year 9999 stand for "unknown" in many tables.
_EARLIEST_DATE: Final = -2_208_988_800  # 1900

_MISSING: Final = "time missing"
UNREADABLE: Final = "time not readable"


@dataclass(frozen=True)
class Times:
    """Times of a batch as they are written.

    ``values``: int64 or float64 numbers, or int64 microseconds since 1970; 0 where there is a problem. ``spelling``:
    ``number``, ``date``, or ``date with a zone`` (in texts).
    """

    values: numpy.ndarray
    spelling: str


def parse_times(column: pyarrow.Array, name: str) -> tuple[Times, list[Problem]]:
    """Read one batch of a time column.

    Text may hold numbers or ISO 8601 dates and times; those without a zone are read as UTC. Raise InputError if no
    value of the column's type is a time, or the type is too narrow for times.
    """
    column = plain(column)
    missing = Problem(
        name,
        _MISSING,
        column.is_null().to_numpy(zero_copy_only=False),
        lambda _: "the time is missing; remove such rows or choose another --time-column",
    )
    kind = column.type
    if is_text(kind):
        texts, undecodable = read_texts(column, name, "time")
        # As BigQuery writes them: "2016-01-01 00:00:00 UTC".
        if pyarrow.compute.any(pyarrow.compute.ends_with(texts, " UTC"), min_count=0).as_py():
            texts = pyarrow.compute.replace_substring_regex(texts, r"(\d) UTC$", r"\1Z")
        times, problems = _parse_texts(texts, name)
        problems = [*undecodable, *problems]
    elif pyarrow.types.is_integer(kind):
        # Unchecked: an unsigned number too large for a time becomes negative.
        numbers = column.cast(pyarrow.int64(), safe=False).fill_null(0).to_numpy()
        wrapped = (numbers < 0) & pyarrow.types.is_unsigned_integer(kind)
        times, problems = Times(numbers, "number"), [_unreadable(wrapped, column, name)]
    elif pyarrow.types.is_floating(kind) or pyarrow.types.is_decimal(kind):
        times, problems = _parse_fractions(column, name)
    elif pyarrow.types.is_timestamp(kind) or pyarrow.types.is_date(kind):
        times, problems = _parse_dates(column, name)
    elif pyarrow.types.is_null(kind):
        times, problems = Times(numpy.zeros(len(column), dtype=numpy.int64), "number"), []
    else:
        raise InputError(f"column {name}: not a time: the column is of type {kind}; choose another --time-column")
    return times, [missing, *problems]


def _parse_fractions(column: pyarrow.Array, name: str) -> tuple[Times, list[Problem]]:
    if pyarrow.types.is_decimal(column.type):
        if column.type.scale == 0:
            numbers = polars.Series(column.cast(pyarrow.string()), dtype=polars.String).cast(polars.Int64, strict=False)
            wide = numbers.is_null().to_numpy() & column.is_valid().to_numpy(zero_copy_only=False)
            return Times(numbers.fill_null(0).to_numpy(), "number"), [_unreadable(wide, column, name)]
        column = column.cast(pyarrow.float64(), safe=False)
    numbers = column.cast(pyarrow.float64()).fill_null(0).to_numpy()
    if column.type.bit_width < 64:
        rounded = numbers[(numbers != numpy.rint(numbers)) | (numpy.abs(numbers) > EXACT_UP_TO[column.type.bit_width])]
        rounded = rounded[numpy.isfinite(rounded)]
        if len(rounded):
            raise InputError(
                f"column {name}: {rounded[0]:.0f}: {column.type.bit_width}-bit floats cannot hold times exactly; write "
                "the column as 64-bit integers or floats"
            )
    wrong = ~numpy.isfinite(numbers)
    return Times(numpy.where(wrong, 0, numbers), "number"), [_unreadable(wrong, column, name)]


def _parse_dates(column: pyarrow.Array, name: str) -> tuple[Times, list[Problem]]:
    kind = column.type
    unit = kind.unit if pyarrow.types.is_timestamp(kind) else "ms"
    if pyarrow.types.is_date(kind):
        column = column.cast(pyarrow.date64())
    numbers = column.cast(pyarrow.int64()).fill_null(0).to_numpy()
    wrong = (numbers < _EARLIEST_DATE * PER_SECOND[unit]) | (numbers >= LATEST_SECOND * PER_SECOND[unit])
    microseconds = to_microseconds(numpy.where(wrong, 0, numbers), unit)
    return Times(microseconds, "date"), [
        _unreadable(wrong, column, name, "; dates lie between 1900 and 2200; remove such rows")
    ]


def _parse_texts(column: pyarrow.Array, name: str) -> tuple[Times, list[Problem]]:
    pieces = _cast_pieces(column, 0)
    sizes: Counter[str] = Counter()
    for _, size, piece in pieces:
        if piece is not None:
            sizes[piece.spelling] += size
    spelling = max(sizes, key=sizes.__getitem__, default="number")
    taken = [(start, size, piece) for start, size, piece in pieces if piece is not None and piece.spelling == spelling]
    kind = numpy.result_type(numpy.int64, *(piece.values for _, _, piece in taken))
    values = numpy.zeros(len(column), dtype=kind)
    wrong = column.is_valid().to_numpy(zero_copy_only=False).astype(bool)
    for start, size, piece in taken:
        values[start : start + size] = piece.values
        wrong[start : start + size] = False
    hint = "; times are numbers or ISO 8601 texts, all spelled the same way; choose another --time-column"
    return Times(values, spelling), [_unreadable(wrong, column, name, hint)]


def _cast_pieces(column: pyarrow.Array, start: int) -> list[tuple[int, int, Times | None]]:
    """Cut texts into pieces that are spelled alike: (start, length, times), None for a text that is not a time."""
    piece = _cast_text(column)
    if piece is not None or len(column) == 1:
        return [(start, len(column), piece)]
    middle = len(column) // 2
    return [*_cast_pieces(column[:middle], start), *_cast_pieces(column[middle:], start + middle)]


def _cast_text(column: pyarrow.Array) -> Times | None:
    """Read texts as whole numbers, else as numbers, else as ISO 8601; None if none of them fits every value."""
    for kind, spelling in (
        (pyarrow.int64(), "number"),
        (pyarrow.float64(), "number"),
        (pyarrow.timestamp("ns"), "date"),
        (pyarrow.timestamp("ns", "UTC"), "date with a zone"),
    ):
        try:
            parsed = column.cast(kind)
        except pyarrow.ArrowInvalid:
            continue
        if spelling == "number":
            numbers = parsed.fill_null(0).to_numpy()
            return Times(numbers, spelling) if numpy.isfinite(numbers).all() else None
        dates, problems = _parse_dates(parsed, "")
        return None if problems[0].rows.any() else Times(dates.values, spelling)
    return None


def _unreadable(wrong: Mask, column: pyarrow.Array, name: str, hint: str = "; remove such rows") -> Problem:
    return Problem(name, UNREADABLE, wrong, lambda index: f"not a time: {_shown(column[index])}{hint}")


def _shown(value: pyarrow.Scalar) -> str:
    try:
        return excerpt(repr(value.as_py()))
    except (ValueError, OverflowError):  # a date that Python does not know
        return excerpt(str(value.cast(pyarrow.int64())))


def to_microseconds(numbers: numpy.ndarray, unit: str) -> Int64s:
    """Return times in a unit of ``PER_SECOND`` as whole microseconds."""
    per_second = PER_SECOND[unit]
    if numbers.dtype.kind == "f":
        return numpy.rint(numbers * (10**6 / per_second)).astype(numpy.int64)
    return numbers * (10**6 // per_second) if per_second <= 10**6 else numbers // (per_second // 10**6)

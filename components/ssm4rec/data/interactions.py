"""Events in memory: ids encoded while they are read, so that a row costs 20 bytes however long its ids are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars
import pyarrow
import pyarrow.compute
from tqdm import tqdm

from ssm4rec.data.times import parse_times, resolve_times
from ssm4rec.errors import InputError


@dataclass(frozen=True)
class Columns:
    """The names of the columns that hold user, item, time and, unless "", the rating."""

    user: str
    item: str
    time: str
    rating: str = ""


@dataclass(frozen=True)
class Interactions:
    """Events and what their times are.

    Attributes:
        frame: a row an event; ``user`` and ``item`` categorical (the source's ids), ``time`` int64, ``rating``
            float32 or null.
        time_kind: ``ms`` since 1970, or ``order``: numbers that only order events.
        has_ratings: whether the source gives ratings.
    """

    frame: polars.DataFrame
    time_kind: str
    has_ratings: bool


def encode(
    files: Iterable[tuple[str, Iterator[pyarrow.RecordBatch]]], columns: Columns, time_unit: str = "auto"
) -> Interactions:
    """Read all batches of all files into one table, in file order.

    Args:
        files: names (for messages) and batches that have the columns of ``columns``.
        time_unit: the unit of numbers in the time column, ``auto`` to tell by their size.

    Raises:
        InputError: an id, time or rating is missing or malformed (the message names the row), or there is no event.
    """
    # A category table for users and one for items, shared by all batches: equal ids get equal codes.
    user_kind = polars.Categorical(polars.Categories.random())
    item_kind = polars.Categorical(polars.Categories.random())
    frames: list[polars.DataFrame] = []
    times: list[pyarrow.Array] = []
    name = ""
    with tqdm(desc="reading", unit=" events", unit_scale=True, disable=None) as bar:
        for name, batches in files:
            row = 1
            for batch in batches:
                times.append(parse_times(batch.column(columns.time), f"{name}, column {columns.time}", row))
                frames.append(
                    polars.DataFrame(
                        {
                            "user": _ids(batch, columns.user, name, row).cast(user_kind),
                            "item": _ids(batch, columns.item, name, row).cast(item_kind),
                            "rating": _ratings(batch, columns.rating, name, row),
                        }
                    )
                )
                row += batch.num_rows
                bar.update(batch.num_rows)
    if sum(frame.height for frame in frames) == 0:
        raise InputError(f"{name}: no events in it; choose another --source")
    values, time_kind = resolve_times(times, time_unit, f"{name}, column {columns.time}")
    frame = polars.concat(frames).with_columns(polars.Series("time", values))
    return Interactions(frame.select("user", "item", "time", "rating"), time_kind, bool(columns.rating))


def _ids(batch: pyarrow.RecordBatch, column: str, name: str, first_row: int) -> polars.Series:
    ids = batch.column(column)
    if pyarrow.types.is_dictionary(ids.type):
        ids = ids.dictionary_decode()
    if pyarrow.types.is_integer(ids.type):
        ids = ids.cast(pyarrow.string())
    series = polars.Series(ids) if _is_text(ids.type) else None
    if series is None:
        raise InputError(f"{name}, column {column}: of type {ids.type}; ids are texts or whole numbers")
    missing = series.is_null() | (series == "")
    if missing.any():
        row = first_row + (missing.arg_max() or 0)
        raise InputError(f"{name}, column {column}, row {row}: the id is missing; remove such rows")
    return series


def _ratings(batch: pyarrow.RecordBatch, column: str, name: str, first_row: int) -> polars.Series:
    if not column:
        return polars.Series([None], dtype=polars.Float32).new_from_index(0, batch.num_rows)
    values = batch.column(column)
    if _is_text(values.type):
        values = pyarrow.compute.if_else(pyarrow.compute.equal(values, ""), None, values)
    try:
        return polars.Series(values.cast(pyarrow.float32(), safe=False)).fill_nan(None)
    except pyarrow.ArrowNotImplementedError:  # dates, lists, records: no value of the type is a number
        raise InputError(
            f"{name}, column {column}: of type {values.type}; ratings are numbers; choose another --rating-column"
        ) from None
    except pyarrow.ArrowInvalid as error:  # a text that is no number
        series = polars.Series(values.cast(pyarrow.string()))
        bad = series.is_not_null() & series.cast(polars.Float32, strict=False).is_null()
        row = first_row + (bad.arg_max() or 0)
        raise InputError(
            f"{name}, column {column}, row {row}: not a rating ({error}); choose another --rating-column"
        ) from None


def _is_text(kind: pyarrow.DataType) -> bool:
    return bool(
        pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind) or pyarrow.types.is_string_view(kind)
    )

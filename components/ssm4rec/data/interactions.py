"""Events in memory: ids encoded while they are read, so that a row costs 20 bytes however long its ids are."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import polars
import pyarrow
from tqdm import tqdm

from ssm4rec.data.bad_rows import BadRows, count_words
from ssm4rec.data.event_order import in_order
from ssm4rec.data.filtering import Filters, filter_interactions
from ssm4rec.data.sequences import Sequences, build_sequences
from ssm4rec.data.spelling import check_spelling, respelled
from ssm4rec.data.time_units import DATE, ORDER, FileTimes, resolve_times
from ssm4rec.data.times import Times, parse_times
from ssm4rec.data.values import read_ids, read_ratings
from ssm4rec.runtime.errors import InputError


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
            float32 or null. The times are microseconds since 1970, or numbers that only order events.
        time_unit: what the numbers of the file were, as in ``FileTimes``; of several files, those of the first.
    """

    frame: polars.DataFrame
    time_unit: str

    def sequences(self, order: str, filters: Filters) -> tuple[Sequences, list[dict[str, Any]]]:
        """Order the events, filter them and number users and items; return also what each filter left.

        ``order`` is of ``EVENT_ORDERS``. Raise InputError if nothing is left.
        """
        frame, records = filter_interactions(in_order(self.frame, order, self.time_unit), filters)
        return build_sequences(frame), records


def encode(
    files: Iterable[tuple[str, Iterator[pyarrow.RecordBatch]]], columns: Columns, time_unit: str, bad_rows: BadRows
) -> Interactions:
    """Read all batches of all files into one table, in file order.

    ``files`` are names (for messages) and batches. ``time_unit`` is that of numbers in the time column; ``auto``: told
    by their size, file by file. Raise InputError if a row is bad and not to be dropped (the message names it), files
    differ in what their times are, an id is spelled in two ways, or there is no event.
    """
    reading = FileReader(columns, time_unit, bad_rows)
    name = ""
    read: list[tuple[str, polars.DataFrame, FileTimes]] = []
    with tqdm(desc="reading", unit=" events", unit_scale=True, disable=None) as bar:
        for name, batches in files:
            found = reading.file(name, batches, bar)
            if found is not None:
                read.append((name, *found))
    if not read:
        raise no_events(name, bad_rows)
    check_units([(name, times) for name, _, times in read], time_unit)
    frame = polars.concat([frame for _, frame, _ in read])
    for name, ids in ((columns.user, frame["user"]), (columns.item, frame["item"])):
        check_spelling([respelled(ids.unique().cast(polars.String))], name)
    return Interactions(frame.select("user", "item", "time", "rating"), read[0][2].unit)


def no_events(name: str, bad_rows: BadRows) -> InputError:
    """Return what is wrong with files, ``name`` the last of them, that hold no event."""
    lost = f" that can be read ({count_words(bad_rows.dropped)})" if bad_rows.dropped else ""
    return InputError(f"{name}: no events in it{lost}; choose another --source")


def new_kind() -> polars.Categorical:
    """Return a categorical type with categories of its own: ids that are cast to it get codes from 0 on."""
    return polars.Categorical(polars.Categories.random())


@dataclass(frozen=True)
class FileReader:
    """Reads files with one category table for users and one for items: equal ids get equal codes."""

    columns: Columns
    time_unit: str
    bad_rows: BadRows
    user_kind: polars.Categorical = field(default_factory=new_kind)
    item_kind: polars.Categorical = field(default_factory=new_kind)

    def file(
        self, name: str, batches: Iterator[pyarrow.RecordBatch], bar: tqdm
    ) -> tuple[polars.DataFrame, FileTimes] | None:
        """Read a file; None if no row of it stays."""
        frames: list[polars.DataFrame] = []
        times: list[Times] = []
        row = 1
        for batch in batches:
            frame, batch_times = self._batch(batch, name, row)
            if frame.height:
                frames.append(frame)
                times.append(batch_times)
            row += batch.num_rows
            bar.update(batch.num_rows)
        if not frames:
            return None
        resolved = resolve_times(times, self.time_unit, name, self.columns.time, self.bad_rows)
        frame = polars.concat(frames)
        if resolved.good is not None:
            frame = frame.filter(resolved.good)
        return (frame.with_columns(polars.Series("time", resolved.values)), resolved) if frame.height else None

    def _batch(self, batch: pyarrow.RecordBatch, name: str, first_row: int) -> tuple[polars.DataFrame, Times]:
        columns = self.columns
        try:
            users, user_problems = read_ids(batch.column(columns.user), columns.user, "user id")
            items, item_problems = read_ids(batch.column(columns.item), columns.item, "item id")
            times, time_problems = parse_times(batch.column(columns.time), columns.time)
            if columns.rating:
                ratings, rating_problems = read_ratings(batch.column(columns.rating), columns.rating)
            else:
                ratings, rating_problems = polars.repeat(None, len(users), dtype=polars.Float32, eager=True), []
        except InputError as error:
            raise InputError(f"{name}, {error}") from None
        problems = [*user_problems, *item_problems, *time_problems, *rating_problems]
        good = self.bad_rows.good(problems, batch.num_rows, name, first_row)
        frame = polars.DataFrame({"user": users, "item": items, "rating": ratings})
        if good is not None:
            frame, times = frame.filter(good), Times(times.values[good], times.spelling)
        return frame.cast({"user": self.user_kind, "item": self.item_kind}), times


def check_units(files: list[tuple[str, FileTimes]], asked: str) -> None:
    """Raise InputError if the files' times do not fit together.

    Files in different units were brought to one. What cannot be: order numbers in one file and times in another; and,
    where the user names a unit, a file that by its numbers is in another while the rest is in that one.
    """
    first_name, first = files[0]
    for name, times in files[1:]:
        if (first.unit == ORDER) != (times.unit == ORDER):
            first_holds, holds = ("order numbers" if one.unit == ORDER else "times" for one in (first, times))
            raise InputError(
                f"{first_name} holds {first_holds} and {name} holds {holds}; prepare them separately or set --time-unit"
            )
    if asked in ("auto", ORDER):
        return
    as_asked = [name for name, times in files if times.likely_unit == asked]
    others = [(name, times.likely_unit) for name, times in files if times.likely_unit not in (asked, DATE, ORDER)]
    if as_asked and others:
        name, unit = others[0]
        raise InputError(
            f"--time-unit {asked}: {as_asked[0]} is in {asked}, but {name} looks like {unit}; use --time-unit auto, "
            "which tells the unit of each file"
        )

"""Preparing a data set in parts: what one process does of it, a file of events or all events of some users.

A file's events are dealt out to the parts by their users, so that every user is in one part, whatever files the events
are in. Within a part order, filters and numbers are those of ``event_order.py``, ``filtering.py`` and ``sequences.py``;
what needs all parts is counts and first events, which ``ray_engine.py`` merges. Functions here know nothing of Ray:
they take and return Arrow tables, which processes hand each other without copies, and give the same result each time.

Shapes: N events and U users of a file or part, V items of all parts, P parts.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple
from zlib import crc32

import numpy
import polars
import pyarrow
from tqdm import tqdm

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.data.event_files import EventFiles
from ssm4rec.data.event_order import RANDOM_TIES, by_time, sorted_by
from ssm4rec.data.filtering import have_enough
from ssm4rec.data.interactions import FileReader, new_kind
from ssm4rec.data.sequences import appearances, numbered
from ssm4rec.data.spelling import plain_ids, respelled
from ssm4rec.data.time_units import FileTimes


class FileFacts(NamedTuple):
    """What the driver knows of a file.

    Attributes:
        rows: events that stay.
        times: without their values; None if no event stays.
    """

    name: str
    rows: int
    times: FileTimes | None
    dropped: Counter[str]


class Piece(NamedTuple):
    """A file's events of a part's users, in file order.

    Attributes:
        user_ids: the source's, (U,).
        events: ``user`` the place in ``user_ids``, ``item`` the file's number of it, ``time``, ``rating``, ``row`` of
            the file.
    """

    user_ids: pyarrow.Array
    events: pyarrow.Table


class Order(NamedTuple):
    """The order of events by its ``name``, of times of a ``unit`` as in ``FileTimes``."""

    name: str
    unit: str


class Counts(NamedTuple):
    """Of a part: its users, and the events of each item, (V,)."""

    users: int
    items: Int64s


class Grouped(NamedTuple):
    """The users of a part in the order of their first events.

    Attributes:
        user_ids: the source's, (U,).
        firsts: what their first events are sorted by, ``key`` and, where keys tie, ``row``.
        lengths: their numbers of events, (U,).
    """

    user_ids: pyarrow.Array
    firsts: pyarrow.Table
    lengths: Int64s


def read_pieces(events: EventFiles, parts: int) -> tuple[Any, ...]:
    """Read the one file of ``events``; return its facts, its items' ids (Arrow), and the piece of each part.

    There are no pieces, but None, if no event stays. Raise InputError as ``encode`` does of one file.
    """
    (file,) = events.files
    reader = FileReader(events.columns, events.time_unit, events.bad_rows)
    with tqdm(disable=True) as bar:
        found = reader.file(file.name, file.batches(events.bad_rows), bar)
    dropped = events.bad_rows.dropped
    if found is None:
        return FileFacts(file.name, 0, None, dropped), pyarrow.array([], pyarrow.large_string()), *[None] * parts
    frame, times = found
    users, user_ids = numbered(frame["user"])
    items, item_ids = numbered(frame["item"])
    table = polars.DataFrame({"user": users, "item": items, "time": frame["time"], "rating": frame["rating"]})
    part_of = _parts_of(user_ids, parts)[users]
    by_part = numpy.argsort(part_of, kind="stable")
    ends = numpy.cumsum(numpy.bincount(part_of, minlength=parts))
    pieces = [_piece(table.with_row_index("row")[rows], user_ids) for rows in numpy.split(by_part, ends[:-1])]
    times = replace(times, values=times.values[:0], good=None)
    return FileFacts(file.name, frame.height, times, dropped), arrow_texts(item_ids), *pieces


def _parts_of(ids: polars.Series, parts: int) -> numpy.ndarray:
    """Return the part of each user, the same in every process; two spellings of one id meet in a part."""
    plain = plain_ids(ids)
    hashes = numpy.fromiter((crc32(one.encode()) for one in plain), numpy.uint32, len(plain))
    return (hashes % parts).astype(numpy.uint16)


def _piece(events: polars.DataFrame, user_ids: polars.Series) -> Piece:
    own, users = numpy.unique(events["user"].to_numpy(), return_inverse=True)
    return Piece(arrow_texts(user_ids.gather(own)), events.with_columns(user=users.astype(numpy.uint32)).to_arrow())


def arrange(order: Order, starts: list[int], item_count: int, *given: Any) -> tuple[Any, ...]:
    """Put the events of a part together, in time order.

    Args:
        order: how to sort them.
        starts: of each file, the number of events of those before it.
        item_count: V.
        given: of each file its piece; of each file the number among all V items of each of its own; where ties have an
            order of their own, also of each file the place in it of each of its events.

    Returns:
        A table of ``user`` by first appearance, ``item``, ``time``, ``rating`` and ``row``, the place in the order of
        ties, of all files; the users' ids; Counts; and two ids that are one, if there are any.
    """
    files = len(starts)
    kind = new_kind()
    frames = [_no_events(kind)]
    for number, start in enumerate(starts):
        piece = given[number]
        if piece is None:
            continue
        events = polars.DataFrame(piece.events)
        rows = events["row"].to_numpy().astype(numpy.int64)
        frames.append(
            polars.DataFrame(
                {
                    "user": texts(piece.user_ids).cast(kind).gather(events["user"]),
                    "item": given[files + number][events["item"].to_numpy()],
                    "time": events["time"],
                    "rating": events["rating"],
                    "row": given[2 * files + number][rows] if order.name == RANDOM_TIES else start + rows,
                }
            )
        )
    frame = polars.concat(frames)
    if order.name == RANDOM_TIES:
        frame = frame.sort("row")
    frame = by_time(frame, *order)
    users, user_ids = numbered(frame["user"])
    frame = frame.with_columns(user=polars.Series(users))
    return frame.to_arrow(), arrow_texts(user_ids), counted(frame, item_count), respelled(user_ids)


def _no_events(kind: polars.Categorical) -> polars.DataFrame:
    types = {"item": polars.Int32, "time": polars.Int64, "rating": polars.Float32, "row": polars.Int64}
    return polars.DataFrame(schema={"user": kind, **types})


def counted(frame: polars.DataFrame, item_count: int) -> Counts:
    """Return how many users and events of each item there are."""
    users = int(numpy.count_nonzero(numpy.bincount(frame["user"].to_numpy())))
    return Counts(users, numpy.bincount(frame["item"].to_numpy(), minlength=item_count))


def filtered(
    events: pyarrow.Table, item_count: int, keep: Callable[[polars.DataFrame], polars.DataFrame]
) -> tuple[pyarrow.Table, Counts]:
    """Return what a filter leaves of a part, and its counts."""
    frame = keep(polars.DataFrame(events))
    return frame.to_arrow(), counted(frame, item_count)


def core_round(events: pyarrow.Table, kept: Int64s | None, item_counts: Int64s, k: int) -> tuple[Int64s, Int64s, int]:
    """Do a round of the k-core; return the rows of a part that stay, their items' counts and how many were dropped.

    ``kept``: rows that stayed in the rounds before, None for all; ``item_counts``: of all parts' such rows, (V,).
    """
    users, items = events.column("user").to_numpy(), events.column("item").to_numpy()
    rows = numpy.arange(len(users)) if kept is None else kept
    enough = have_enough(users[rows], items[rows], item_counts, k)
    rows = rows[enough]
    return rows, numpy.bincount(items[rows], minlength=len(item_counts)), int((~enough).sum())


def taken(events: pyarrow.Table, kept: Int64s, item_count: int) -> tuple[pyarrow.Table, Counts]:
    """Return some rows of a part, ascending, and their counts."""
    return filtered(events, item_count, lambda frame: frame[kept])


def first_items(events: pyarrow.Table, order: Order) -> pyarrow.Table:
    """Return the first event of each item of a part: ``item``, ``key`` and ``row``, which decide which is first."""
    frame = polars.DataFrame(events).unique("item", keep="first", maintain_order=True)
    return frame.select("item", sorted_by(*order).alias("key"), "row").to_arrow()


def merge_first_items(one: polars.DataFrame, other: polars.DataFrame) -> polars.DataFrame:
    """Return the first event of each item of two parts, in their order."""
    both = polars.concat([one, other]).sort("key", "row")
    return both.unique("item", keep="first", maintain_order=True)


def present_ids(events: pyarrow.Table, user_ids: pyarrow.Array) -> pyarrow.Array:
    """Return the ids of a part's users who have events."""
    return user_ids.take(pyarrow.array(numpy.unique(events.column("user").to_numpy())))


def of_users(
    events: pyarrow.Table, user_ids: pyarrow.Array, chosen: pyarrow.Array, item_count: int
) -> tuple[pyarrow.Table, Counts]:
    """Return the events of a part whose users are among those chosen, and their counts."""
    is_chosen = texts(user_ids).is_in(texts(chosen).implode()).to_numpy()
    return filtered(events, item_count, lambda frame: frame.filter(is_chosen[frame["user"].to_numpy()]))


def group(events: pyarrow.Table, user_ids: pyarrow.Array, order: Order) -> tuple[Grouped, pyarrow.Table]:
    """Group a part by user; return the users, and ``item``, ``time`` and ``rating`` of all events, user after user."""
    frame = polars.DataFrame(events)
    codes = frame["user"].to_numpy()
    users, first = appearances(codes)
    firsts = frame[first].select(sorted_by(*order).alias("key"), "row").to_arrow()
    # Stable, so that each user's events stay in time order.
    by_user = frame[numpy.argsort(users, kind="stable")]
    lengths = numpy.bincount(users, minlength=len(first))
    ids = user_ids.take(pyarrow.array(codes[first]))
    return Grouped(ids, firsts, lengths), by_user.select("item", "time", "rating").to_arrow()


def arrow_texts(ids: polars.Series) -> pyarrow.Array:
    """Return ids as processes hand them each other."""
    return ids.to_arrow().cast(pyarrow.large_string())


def texts(ids: pyarrow.Array) -> polars.Series:
    """Return ids that were handed over."""
    return polars.Series(ids, dtype=polars.String)

"""The engine ``ray``: events that no process holds as a whole, prepared by several, on one machine or a cluster.

A file is read by one process, which deals its events out to parts by their users (``parts.py``); then each part is put
in order, filtered and grouped by a process at a time. This process merges counts and first events, and at the end holds
what the dataset folder does: some 20 bytes for each event that the filters leave. The folder's bytes are those of
``polars``. Work is done by Ray's tasks, which depend on what they are handed alone: a killed one is done again.

Shapes: N events, U users, V items, P parts.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, Final

import numpy
import polars
import pyarrow

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.data.cold_items import last_items, without_cold
from ssm4rec.data.event_files import EventFiles
from ssm4rec.data.event_order import RANDOM_TIES, tie_order
from ssm4rec.data.filtering import Filters, Keep, apply_filters, deduplicated, drawn_ids, rated
from ssm4rec.data.interactions import check_units, new_kind, no_events
from ssm4rec.data.parts import (
    FileFacts,
    Order,
    arrange,
    arrow_texts,
    core_round,
    filtered,
    first_items,
    group,
    merge_first_items,
    of_users,
    present_ids,
    read_pieces,
    taken,
    texts,
)
from ssm4rec.data.sequences import Sequences, numbered
from ssm4rec.data.spelling import check_spelling, respelled
from ssm4rec.runtime.ray_cluster import result, room, share, submit

log = logging.getLogger(__name__)

Kept = Any
"""Where Ray keeps a value (ray.ObjectRef)."""

_PART_BYTES: Final = 64 << 20
"""Of files: some 3 million events where they are compressed, for which a process takes half a gigabyte."""


def part_count(events: EventFiles) -> int:
    """Return P: a part for each core, and so many that the events of each fit a process."""
    return min(max(room(), -(-sum(file.bytes for file in events.files) // _PART_BYTES)), 1 << 16)


def read_in_parts(events: EventFiles, parts: int) -> "PartedInteractions":
    """Read the files by Ray's processes; raise InputError as ``EventFiles.read`` does of the first file at fault."""
    read = [submit(read_pieces, replace(events, files=(file,)), parts, returns=parts + 2) for file in events.files]
    facts: list[FileFacts] = []
    for number, (told, *_) in enumerate(read, 1):
        facts.append(result(told))
        events.bad_rows.dropped.update(facts[-1].dropped)
        log.info("%d of %d files read: %s events", number, len(read), f"{sum(file.rows for file in facts):,}")
    timed = [(file.name, file.times) for file in facts if file.times is not None]
    if not timed:
        raise no_events(facts[-1].name, events.bad_rows)
    check_units(timed, events.time_unit)
    item_ids, codes = _number_items([ids for _, ids, *_ in read])
    pieces = [list(of_part) for of_part in zip(*(pieces for _, _, *pieces in read), strict=True)]
    columns = events.columns.user, events.columns.item
    return PartedInteractions(timed[0][1].unit, columns, [file.rows for file in facts], item_ids, codes, pieces)


def _number_items(ids_of_files: Sequence[Kept]) -> tuple[pyarrow.Array, list[Kept]]:
    """Return the ids of all V items, and of each file the number of each of its own among them."""
    kind = new_kind()
    ids = [texts(result(kept)).cast(kind) for kept in ids_of_files]
    numbers, item_ids = numbered(polars.concat(ids))
    codes = numpy.split(numbers, numpy.cumsum([len(one) for one in ids])[:-1])
    return arrow_texts(item_ids), [share(of_file) for of_file in codes]


@dataclass(frozen=True)
class PartedInteractions:
    """Events that have been read, in parts.

    Attributes:
        time_unit: as in ``Interactions``.
        columns: the names of the columns of users and items.
        rows: of each file, the events that stay.
        item_ids: the source's, (V,).
        codes: of each file, the numbers of its items among all.
        pieces: of each part, that of each file; given up when they have been put together.
    """

    time_unit: str
    columns: tuple[str, str]
    rows: list[int]
    item_ids: pyarrow.Array
    codes: list[Kept]
    pieces: list[list[Kept]]

    def sequences(self, order: str, filters: Filters) -> tuple[Sequences, list[dict[str, Any]]]:
        """Order the events, filter them and number users and items, as ``Interactions`` does; once."""
        parts, records = apply_filters(self._arranged(Order(order, self.time_unit)), filters)
        return parts.grouped(self.item_ids), records

    def _arranged(self, order: Order) -> "_Parts":
        starts = numpy.concatenate([[0], numpy.cumsum(self.rows)[:-1]]).tolist()
        ties = [share(places) for places in _places_in_ties(self.rows)] if order.name == RANDOM_TIES else []
        made, item_count = [], len(self.item_ids)
        while self.pieces:
            pieces = self.pieces.pop(0)
            made.append(submit(arrange, order, starts, item_count, *pieces, *self.codes, *ties, returns=4))
        tables, user_ids, counts, pairs = map(list, zip(*made, strict=True))
        user, item = self.columns
        check_spelling(map(result, pairs), user)
        check_spelling([respelled(polars.Series(self.item_ids))], item)
        log.info("in order: %s events in %d parts", f"{sum(self.rows):,}", len(tables))
        return _Parts(order, item_count, user_ids, tables, counts)


def _places_in_ties(rows: Sequence[int]) -> Iterator[Int64s]:
    """Yield of each file the place of each event in the order of ties."""
    order = tie_order(sum(rows))
    places = numpy.empty_like(order)
    places[order] = numpy.arange(len(order))
    yield from numpy.split(places, numpy.cumsum(rows)[:-1])


@dataclass(frozen=True)
class _Parts:
    """Events in time order, a table for each part; see ``Filterable``.

    Attributes:
        item_count: V.
        user_ids: of each part, the ids behind its users' numbers.
        tables, counts: of each part, its events and their Counts.
    """

    order: Order
    item_count: int
    user_ids: list[Kept]
    tables: list[Kept]
    counts: list[Kept]

    @cached_property
    def _total(self) -> tuple[int, Int64s]:
        """The number of users, and of events of each item, of all parts."""
        users, items = 0, numpy.zeros(self.item_count, dtype=numpy.int64)
        for kept in self.counts:
            counts = result(kept)
            users += counts.users
            items += counts.items
        return users, items

    def count(self) -> dict[str, int]:
        users, items = self._total
        return {"users": users, "items": int(numpy.count_nonzero(items)), "interactions": int(items.sum())}

    def deduplicated(self, keep: Keep) -> "_Parts":
        return self._filtered(partial(deduplicated, keep=keep))

    def rated(self, minimum: float) -> "_Parts":
        return self._filtered(partial(rated, minimum=minimum))

    def core(self, k: int) -> "_Parts":
        _, item_counts = self._total
        kept: list[Kept] = [None] * len(self.tables)
        while True:
            all_counts = share(item_counts)
            made = [
                submit(core_round, table, rows, all_counts, k, returns=3)
                for table, rows in zip(self.tables, kept, strict=True)
            ]
            dropped = sum(result(one) for _, _, one in made)
            if not dropped:
                break
            kept = [rows for rows, _, _ in made]
            item_counts = numpy.zeros_like(item_counts)
            for _, counts, _ in made:
                item_counts += result(counts)
            log.info("k-core: %s events dropped", f"{dropped:,}")
        return self._with(
            submit(taken, table, rows, self.item_count, returns=2)
            for table, rows in zip(self.tables, (rows for rows, _, _ in made), strict=True)
        )

    def warm(self, cold_share: float) -> "_Parts":
        return self._filtered(partial(without_cold, cold_items=last_items(self._first_items()["item"], cold_share)))

    def drawn(self, users: int) -> "_Parts":
        ids = [submit(present_ids, *both) for both in zip(self.tables, self.user_ids, strict=True)]
        chosen = drawn_ids(polars.concat([texts(result(one)) for one in ids]), users)
        if chosen is None:
            return self
        shared = share(arrow_texts(chosen))
        return self._with(
            submit(of_users, table, ids, shared, self.item_count, returns=2)
            for table, ids in zip(self.tables, self.user_ids, strict=True)
        )

    def _filtered(self, keep: Callable[[polars.DataFrame], polars.DataFrame]) -> "_Parts":
        return self._with(submit(filtered, table, self.item_count, keep, returns=2) for table in self.tables)

    def _with(self, made: Iterator[list[Kept]]) -> "_Parts":
        tables, counts = map(list, zip(*made, strict=True))
        return replace(self, tables=tables, counts=counts)

    def _first_items(self) -> polars.DataFrame:
        """Return the items of all parts in the order of their first events."""
        first, *others = [submit(first_items, table, self.order) for table in self.tables]
        found = polars.DataFrame(result(first))
        for one in others:
            found = merge_first_items(found, polars.DataFrame(result(one)))
        return found

    def grouped(self, item_ids: pyarrow.Array) -> Sequences:
        """Number users and items of all parts by first appearance, and bring the events here, user after user."""
        items = self._first_items()["item"]
        number = numpy.zeros(self.item_count, dtype=numpy.int32)
        number[items.to_numpy()] = numpy.arange(1, len(items) + 1)
        made = [
            submit(group, table, ids, self.order, returns=2)
            for table, ids in zip(self.tables, self.user_ids, strict=True)
        ]
        users = [result(one) for one, _ in made]
        in_order = _by_first_event([one.firsts for one in users])
        lengths = numpy.concatenate([one.lengths for one in users])
        offsets = numpy.concatenate([[0], numpy.cumsum(lengths[in_order])])
        starts = numpy.empty_like(lengths)  # of each user's events among all, users as the parts have them
        starts[in_order] = offsets[:-1]
        joined = _Joined(int(offsets[-1]))
        before = 0
        for one, (_, events) in zip(users, made, strict=True):
            after = before + len(one.lengths)
            joined.place(result(events), starts[before:after], one.lengths)
            before = after
        return Sequences(
            user_ids=polars.concat([texts(one.user_ids) for one in users]).gather(in_order),
            item_ids=texts(item_ids).gather(items),
            users=numpy.repeat(numpy.arange(len(lengths), dtype=numpy.int32), lengths[in_order]),
            items=number[joined.items],
            times=joined.times,
            ratings=joined.ratings(),
            offsets=offsets,
        )


def _by_first_event(firsts: Sequence[pyarrow.Table]) -> Int64s:
    """Return the users of all parts, by their places one part after the other, in the order of their first events."""
    both = polars.concat([polars.DataFrame(table) for table in firsts])
    order: Int64s = numpy.lexsort((both["row"].to_numpy(), both["key"].to_numpy()))
    return order


class _Joined:
    """The events of all parts, user after user; ``items`` by their numbers among all V."""

    def __init__(self, events: int) -> None:
        self.items = numpy.empty(events, dtype=numpy.int32)
        self.times = numpy.empty(events, dtype=numpy.int64)
        self._ratings = numpy.zeros(events, dtype=numpy.float32)
        self._unrated = numpy.zeros(events, dtype=bool)

    def place(self, events: pyarrow.Table, starts: Int64s, lengths: Int64s) -> None:
        """Put a part's events where they belong, given for each user of it the first place and how many there are."""
        places = numpy.repeat(starts - (numpy.cumsum(lengths) - lengths), lengths) + numpy.arange(len(events))
        frame = polars.DataFrame(events)
        self.items[places] = frame["item"].to_numpy()
        self.times[places] = frame["time"].to_numpy()
        self._ratings[places] = frame["rating"].fill_null(0).to_numpy()
        self._unrated[places] = frame["rating"].is_null().to_numpy()

    def ratings(self) -> polars.Series:
        """Return the ratings; null where there is none."""
        return polars.Series("rating", pyarrow.array(self._ratings, mask=self._unrated))

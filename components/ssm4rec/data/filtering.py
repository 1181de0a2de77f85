"""Filters over interactions, each with the counts before and after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, Self, TypeVar

import numpy
import polars

from ssm4rec.artifacts.dataset import Flags, Int64s
from ssm4rec.data.cold_items import hold_out
from ssm4rec.runtime.errors import InputError

DEDUPLICATE: Final = ("none", "first", "last")
Keep = Literal["first", "last"]


@dataclass(frozen=True)
class Filters:
    """Which events stay.

    Attributes:
        deduplicate: which event of a user-item pair: ``first``, ``last``, or with ``none`` all of them.
        minimum_rating: events rated lower or not rated are dropped; None keeps all.
        k_core: see ``keep_core``; 0 or 1 keeps all.
        draw_users: see ``drawn``; 0 or less keeps all.
        cold_items: see ``cold_items.py``; 0 keeps all.
    """

    deduplicate: str = "none"
    minimum_rating: float | None = None
    k_core: int = 0
    draw_users: int = 0
    cold_items: float = 0.0


class Filterable(Protocol):
    """Events in time order, wherever an engine holds them; a filter returns what it leaves, in the same order."""

    def count(self) -> dict[str, int]:
        """Return the numbers of distinct users, of distinct items and of interactions."""

    def deduplicated(self, keep: Keep) -> Self:
        """Keep one event of each user-item pair."""

    def rated(self, minimum: float) -> Self:
        """Keep events with at least this rating."""

    def core(self, k: int) -> Self:
        """See :func:`keep_core`."""

    def warm(self, cold_share: float) -> Self:
        """See :func:`hold_out`."""

    def drawn(self, users: int) -> Self:
        """See :func:`drawn`."""


Held = TypeVar("Held", bound=Filterable)


def apply_filters(events: Held, filters: Filters) -> tuple[Held, list[dict[str, Any]]]:
    """Apply the filters in this order: de-duplication, minimum rating, k-core, cold items, a draw of users.

    The draw is the last, so that the k-core is that of all events: few users of many have few items in common. It is
    of the users who are left; items that none of the drawn has are dropped with it, whatever is left of the others.

    Returns:
        The rest in the same order, and the manifest's list of filters with their counts.

    Raises:
        InputError: a filter leaves nothing.
    """
    before = events.count()
    records: list[dict[str, Any]] = [{"filter": "source", "setting": "", "before": before, "after": before}]
    for name, setting, events in _steps(events, filters):  # noqa: B020 - so that none is held longer than needed
        after = events.count()
        records.append({"filter": name, "setting": setting, "before": before, "after": after})
        if after["interactions"] == 0:
            raise InputError(
                f"nothing is left after --{name} {setting} (before it: {before['users']} users, "
                f"{before['items']} items, {before['interactions']} interactions); lower --{name}"
            )
        before = after
    return events, records


def _steps(events: Held, filters: Filters) -> Iterator[tuple[str, str, Held]]:
    """Yield each filter's name and setting, and what it leaves of what the one before it left."""
    if filters.deduplicate != "none":
        events = events.deduplicated("first" if filters.deduplicate == "first" else "last")
    yield "deduplicate", filters.deduplicate, events
    minimum = filters.minimum_rating
    if minimum is not None:
        events = events.rated(minimum)
    yield "minimum-rating", "none" if minimum is None else str(minimum), events
    if filters.k_core > 1:
        events = events.core(filters.k_core)
    yield "k-core", str(filters.k_core), events
    if filters.cold_items:
        events = events.warm(filters.cold_items)
        yield "cold-items", str(filters.cold_items), events
    if filters.draw_users > 0:
        yield "draw-users", str(filters.draw_users), events.drawn(filters.draw_users)


def filter_interactions(frame: polars.DataFrame, filters: Filters) -> tuple[polars.DataFrame, list[dict[str, Any]]]:
    """Do as :func:`apply_filters` to a frame in time order: ``user`` and ``item``, categorical, and ``rating``."""
    rest, records = apply_filters(_Frame(frame), filters)
    return rest.frame, records


@dataclass(frozen=True)
class _Frame:
    """Events in the memory of this process."""

    frame: polars.DataFrame

    def count(self) -> dict[str, int]:
        return count(self.frame)

    def deduplicated(self, keep: Keep) -> "_Frame":
        return _Frame(deduplicated(self.frame, keep))

    def rated(self, minimum: float) -> "_Frame":
        return _Frame(rated(self.frame, minimum))

    def core(self, k: int) -> "_Frame":
        return _Frame(keep_core(self.frame, k))

    def warm(self, cold_share: float) -> "_Frame":
        return _Frame(hold_out(self.frame, cold_share))

    def drawn(self, users: int) -> "_Frame":
        return _Frame(drawn(self.frame, users))


def deduplicated(frame: polars.DataFrame, keep: Keep) -> polars.DataFrame:
    """Keep the first or last event of each user-item pair."""
    return frame.unique(["user", "item"], keep=keep, maintain_order=True)


def rated(frame: polars.DataFrame, minimum: float) -> polars.DataFrame:
    """Keep events with at least this rating."""
    return frame.filter(polars.col("rating") >= minimum)


def count(frame: polars.DataFrame) -> dict[str, int]:
    """Return the numbers of distinct users, of distinct items and of interactions."""
    return {
        "users": int(numpy.count_nonzero(numpy.bincount(frame["user"].to_physical()))),
        "items": int(numpy.count_nonzero(numpy.bincount(frame["item"].to_physical()))),
        "interactions": frame.height,
    }


def drawn(frame: polars.DataFrame, users: int) -> polars.DataFrame:
    """Keep the interactions of so many users, drawn by chance; all where there are no more.

    The draw depends on the users' ids alone: the same in every run, whatever the order of the file.
    """
    chosen = drawn_ids(frame["user"].unique().cast(polars.String), users)
    return frame if chosen is None else frame.filter(frame["user"].cast(polars.String).is_in(chosen.implode()))


def drawn_ids(ids: polars.Series, users: int) -> polars.Series | None:
    """Return so many of the users' ids, drawn by chance; None for all, where there are no more."""
    if len(ids) <= users:
        return None
    return ids.sort()[numpy.random.default_rng(0).choice(len(ids), users, replace=False)]


def keep_core(frame: polars.DataFrame, k: int) -> polars.DataFrame:
    """Drop users and items with fewer than ``k`` interactions until every one left has at least ``k`` (the k-core).

    Duplicates count, as in RecBole. The result does not depend on the order of dropping.
    """
    if k <= 1:
        return frame
    users, items = frame["user"].to_physical().to_numpy(), frame["item"].to_physical().to_numpy()
    kept = numpy.arange(frame.height)
    while True:
        enough = have_enough(users, items, numpy.bincount(items), k)
        if enough.all():
            return frame[kept]
        kept, users, items = kept[enough], users[enough], items[enough]


def have_enough(users: numpy.ndarray, items: numpy.ndarray, item_counts: Int64s, k: int) -> Flags:
    """Return which events are of a user and of an item with at least ``k``: a round of the k-core.

    ``users`` and ``items`` are codes of all events of some users, (N,); ``item_counts`` are of all users' events.
    """
    enough: Flags = (numpy.bincount(users)[users] >= k) & (item_counts[items] >= k)
    return enough

"""Filters over interactions, each with the counts before and after it."""

from collections.abc import Iterator
from typing import Any, Final, Literal

import numpy
import polars

from ssm4rec.data.cold_items import hold_out
from ssm4rec.runtime.errors import InputError

DEDUPLICATE: Final = ("none", "first", "last")


def filter_interactions(
    frame: polars.DataFrame,
    deduplicate: str,
    minimum_rating: float | None,
    k_core: int,
    draw_users: int = 0,
    cold_items: float = 0.0,
) -> tuple[polars.DataFrame, list[dict[str, Any]]]:
    """Apply the filters in this order: de-duplication, minimum rating, k-core, cold items, a draw of users.

    The draw is the last, so that the k-core is that of all events: few users of many have few items in common. It is
    of the users who are left; items that none of the drawn has are dropped with it, whatever is left of the others.

    Args:
        frame: interactions in time order, with the columns ``user``, ``item`` (categorical) and ``rating``.
        deduplicate: which event of a user-item pair stays: ``first``, ``last``, or with ``none`` all of them.
        minimum_rating: events rated lower or not rated are dropped; None keeps all.
        k_core: see ``keep_core``; 0 or 1 keeps all.
        draw_users: see ``drawn``; 0 or less keeps all.
        cold_items: see ``cold_items.py``; 0 keeps all.

    Returns:
        The rest in the same order, and the manifest's list of filters with their counts.

    Raises:
        InputError: a filter leaves nothing.
    """
    before = count(frame)
    records: list[dict[str, Any]] = [{"filter": "source", "setting": "", "before": before, "after": before}]
    for name, setting, kept in _steps(frame, deduplicate, minimum_rating, k_core, draw_users, cold_items):
        after = count(kept)
        records.append({"filter": name, "setting": setting, "before": before, "after": after})
        if after["interactions"] == 0:
            raise InputError(
                f"nothing is left after --{name} {setting} (before it: {before['users']} users, "
                f"{before['items']} items, {before['interactions']} interactions); lower --{name}"
            )
        before = after
    return kept, records


def _steps(
    frame: polars.DataFrame,
    deduplicate: str,
    minimum_rating: float | None,
    k_core: int,
    draw_users: int,
    cold_items: float,
) -> Iterator[tuple[str, str, polars.DataFrame]]:
    """Yield each filter's name and setting, and what it leaves of what the one before it left."""
    if deduplicate != "none":
        keep: Literal["first", "last"] = "first" if deduplicate == "first" else "last"
        frame = frame.unique(["user", "item"], keep=keep, maintain_order=True)
    yield "deduplicate", deduplicate, frame
    if minimum_rating is not None:
        frame = frame.filter(polars.col("rating") >= minimum_rating)
    yield "minimum-rating", "none" if minimum_rating is None else str(minimum_rating), frame
    frame = keep_core(frame, k_core)
    yield "k-core", str(k_core), frame
    if cold_items:
        frame = hold_out(frame, cold_items)
        yield "cold-items", str(cold_items), frame
    if draw_users > 0:
        yield "draw-users", str(draw_users), drawn(frame, draw_users)


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
    ids = frame["user"].unique().cast(polars.String).sort()
    if len(ids) <= users:
        return frame
    chosen = numpy.random.default_rng(0).choice(len(ids), users, replace=False)
    return frame.filter(frame["user"].cast(polars.String).is_in(ids[chosen].implode()))


def keep_core(frame: polars.DataFrame, k: int) -> polars.DataFrame:
    """Drop users and items with fewer than ``k`` interactions until every one left has at least ``k`` (the k-core).

    Duplicates count, as in RecBole. The result does not depend on the order of dropping.
    """
    if k <= 1:
        return frame
    users, items = frame["user"].to_physical().to_numpy(), frame["item"].to_physical().to_numpy()
    kept = numpy.arange(frame.height)
    while True:
        enough = (numpy.bincount(users)[users] >= k) & (numpy.bincount(items)[items] >= k)
        if enough.all():
            return frame[kept]
        kept, users, items = kept[enough], users[enough], items[enough]

"""Filters over interactions, each with the counts before and after it."""

from collections.abc import Callable
from typing import Any, Final

import numpy
import polars

from ssm4rec.runtime.errors import InputError

DEDUPLICATE: Final = ("none", "first", "last")

Counts = dict[str, int]


def filter_interactions(
    frame: polars.DataFrame, deduplicate: str, minimum_rating: float | None, k_core: int
) -> tuple[polars.DataFrame, list[dict[str, Any]]]:
    """Apply the filters in this order: de-duplication, minimum rating, k-core.

    Args:
        frame: interactions in time order, with the columns ``user``, ``item`` (categorical) and ``rating``.
        deduplicate: which event of a user-item pair stays: ``first``, ``last``, or with ``none`` all of them.
        minimum_rating: events rated lower or not rated are dropped; None keeps all.
        k_core: see ``keep_core``; 0 or 1 keeps all.

    Returns:
        The rest in the same order, and the manifest's list of filters with their counts.

    Raises:
        InputError: a filter leaves nothing.
    """
    steps: list[tuple[str, str, Callable[[polars.DataFrame], polars.DataFrame]]] = [
        ("deduplicate", deduplicate, lambda events: _drop_duplicates(events, deduplicate)),
        (
            "minimum-rating",
            "none" if minimum_rating is None else str(minimum_rating),
            lambda events: events if minimum_rating is None else events.filter(polars.col("rating") >= minimum_rating),
        ),
        ("k-core", str(k_core), lambda events: keep_core(events, k_core)),
    ]
    before = count(frame)
    records: list[dict[str, Any]] = [{"filter": "source", "setting": "", "before": before, "after": before}]
    for name, setting, apply in steps:
        frame = apply(frame)
        after = count(frame)
        records.append({"filter": name, "setting": setting, "before": before, "after": after})
        if after["interactions"] == 0:
            raise InputError(
                f"nothing is left after --{name} {setting} (before it: {before['users']} users, "
                f"{before['items']} items, {before['interactions']} interactions); lower --{name}"
            )
        before = after
    return frame, records


def count(frame: polars.DataFrame) -> Counts:
    """Return the numbers of distinct users, of distinct items and of interactions."""
    return {
        "users": int(numpy.count_nonzero(numpy.bincount(frame["user"].to_physical()))),
        "items": int(numpy.count_nonzero(numpy.bincount(frame["item"].to_physical()))),
        "interactions": frame.height,
    }


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


def _drop_duplicates(frame: polars.DataFrame, which: str) -> polars.DataFrame:
    match which:
        case "none":
            return frame
        case "first":
            return frame.unique(["user", "item"], keep="first", maintain_order=True)
        case "last":
            return frame.unique(["user", "item"], keep="last", maintain_order=True)
        case _:
            raise InputError(f"--deduplicate {which}: unknown; use one of {', '.join(DEDUPLICATE)}")

"""Items held out of training, as if they came to the catalog after it: they are test targets only."""

import polars


def hold_out(frame: polars.DataFrame, share: float) -> polars.DataFrame:
    """Return what is left when the ``share`` of the items that appeared last are cold: no training event has one.

    A user with an event of a cold item ends with the last one, which leave-one-out makes the test target; what came
    after it, and all events of cold items before it, are dropped. A user with fewer than two other events before it
    loses the events of cold items instead. All others keep everything.

    Args:
        frame: interactions in time order, with the columns ``user`` and ``item``.
        share: of the items, from 0 to 1; rounded to whole items.

    >>> events = {"user": [1, 1, 2, 1, 1, 1], "item": ["a", "b", "b", "c", "a", "d"]}
    >>> held = hold_out(polars.DataFrame(events), 0.5)  # c and d are cold
    >>> held.rows()
    [(1, 'a'), (1, 'b'), (2, 'b'), (1, 'a'), (1, 'd')]
    """
    return without_cold(frame, last_items(frame["item"].unique(maintain_order=True), share))


def last_items(items: polars.Series, share: float) -> polars.Series:
    """Return the ``share`` of the items that appeared last; ``items`` are all, in the order of first appearance."""
    return items[len(items) - round(share * len(items)) :]


def without_cold(frame: polars.DataFrame, cold_items: polars.Series) -> polars.DataFrame:
    """Return what :func:`hold_out` leaves of all events of some users, given the items that are cold."""
    is_cold = polars.col("item").is_in(cold_items.implode())
    place, last = polars.col("place"), polars.col("last")
    marked = frame.with_row_index("place").with_columns(cold=is_cold)
    marked = marked.with_columns(last=place.filter(polars.col("cold")).max().over("user"))
    enough = (~polars.col("cold") & (place < last)).sum().over("user") >= 2
    ends_cold = (last.is_not_null() & enough).alias("ends_cold")
    marked = marked.with_columns(ends_cold)
    kept = polars.when("ends_cold").then((place == last) | (~polars.col("cold") & (place < last)))
    return marked.filter(kept.otherwise(~polars.col("cold"))).select(frame.columns)

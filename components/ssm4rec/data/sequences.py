"""Interactions with dense ids, grouped by user."""

from dataclasses import dataclass

import numpy
import polars

from ssm4rec.artifacts.dataset import Int32s, Int64s


@dataclass(frozen=True)
class Sequences:
    """Interactions with dense ids, grouped by user, in time order within a user.

    Attributes:
        user_ids: the source's ids, in the order of first appearance in time; shape (U,).
        item_ids: entry i is item i + 1; shape (V,).
        users, items, times, ratings: of each event: the user, ascending, the item 1..V, the rating or null; (events,).
        offsets: user u owns events ``offsets[u]:offsets[u + 1]``; shape (U + 1,).
    """

    user_ids: polars.Series
    item_ids: polars.Series
    users: Int32s
    items: Int32s
    times: Int64s
    ratings: polars.Series
    offsets: Int64s


def build_sequences(frame: polars.DataFrame) -> Sequences:
    """Give dense ids to interactions in time order (``user``, ``item``, ``time``, ``rating``) and group by user."""
    users, user_ids = numbered(frame["user"])
    items, item_ids = numbered(frame["item"])
    # Stable, so that each user's events stay in time order.
    by_user = numpy.argsort(users, kind="stable")
    return Sequences(
        user_ids=user_ids,
        item_ids=item_ids,
        users=users[by_user],
        items=items[by_user] + numpy.int32(1),
        times=frame["time"].to_numpy()[by_user],
        ratings=frame["rating"].gather(by_user),
        offsets=numpy.concatenate([[0], numpy.cumsum(numpy.bincount(users))]),
    )


def numbered(ids: polars.Series) -> tuple[Int32s, polars.Series]:
    """Number the values of a categorical column 0, 1, ... by first appearance; return numbers and the values' texts."""
    numbers, first = appearances(ids.to_physical().to_numpy())
    return numbers, ids.gather(first).cast(polars.String)


def appearances(codes: numpy.ndarray) -> tuple[Int32s, Int64s]:
    """Number values 0, 1, ... by first appearance; return the events' numbers, and where each value appears first.

    ``codes``: whole numbers that tell values apart, (events,).

    >>> numbers, first = appearances(numpy.array([7, 3, 7, 5]))
    >>> numbers.tolist(), first.tolist()
    ([0, 1, 0, 2], [0, 1, 3])
    """
    first = numpy.full(int(codes.max(initial=0)) + 1, len(codes))
    # Written backwards, so that the earliest place of each code is what remains.
    first[codes[::-1]] = numpy.arange(len(codes))[::-1]
    order = numpy.argsort(first, kind="stable")[: numpy.count_nonzero(first < len(codes))]
    number = numpy.empty(len(first), numpy.int32)
    number[order] = numpy.arange(len(order), dtype=numpy.int32)
    return number[codes], first[order]

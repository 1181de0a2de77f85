"""In which order a user's events stand where their times tie, and how much hangs on it.

Half of MovieLens-1M's events share their second with another one of the same user, and its file lists movies in one
order for all users: where ties keep the order of the file, the file gives away what comes next. So numbers under two
orders are of two data sets, and every report says which it is.

- ``exact``: by time; ties keep the order of the file.
- ``recbole``: by time as RecBole 1.0 to 1.2.1 holds it, float32 of the column as it is (recbole/data/dataset/
  dataset.py, ``_dataframe_to_interaction``; data/interaction.py, ``sort``), stably. Of MovieLens' seconds around the
  year 2000 that is a multiple of 64 seconds, of the Amazon reviews' milliseconds around 2020 one of 131: more ties,
  which keep the order of the file. The order of most published MovieLens figures.
- ``random-ties``: by time; ties in a random order, drawn from ``TIE_SEED``. The file gives nothing away.

Shapes: N events of all users, U users, V items.
"""

from typing import Any, Final

import numpy
import polars

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.data.repeats import repeats

EXACT: Final = "exact"
RECBOLE: Final = "recbole"
RANDOM_TIES: Final = "random-ties"
EVENT_ORDERS: Final = (EXACT, RECBOLE, RANDOM_TIES)
TIE_SEED: Final = 0

_LAGS: Final = 4
"""Pairs of a tie that stand at most so many places apart are compared between users."""
_MOST_PAIRS: Final = 8_000_000
"""Of users evenly chosen, if there are more: some seconds of work, and the share is exact to four digits."""


def in_order(frame: polars.DataFrame, order: str, unit: str) -> polars.DataFrame:
    """Sort events of all users, which are in the order of the file.

    ``time`` is int64, microseconds or order numbers; ``unit`` is what the file has, see ``FileTimes``.

    >>> frame = polars.DataFrame({"item": ["b", "a", "d", "c"], "time": [7, 7, 9, 7]})
    >>> in_order(frame, "exact", "us")["item"].to_list()
    ['b', 'a', 'c', 'd']
    >>> seconds = polars.DataFrame({"item": ["b", "a"], "time": [978_300_019_000_000, 978_300_001_000_000]})
    >>> in_order(seconds, "exact", "s")["item"].to_list(), in_order(seconds, "recbole", "s")["item"].to_list()
    (['a', 'b'], ['b', 'a'])
    """
    if order == RANDOM_TIES:
        frame = frame[tie_order(frame.height)]
    return by_time(frame, order, unit)


def tie_order(rows: int) -> Int64s:
    """Return the rows of events in the order that ``random-ties`` gives those with equal times, (N,)."""
    return numpy.random.default_rng(TIE_SEED).permutation(rows)


def by_time(frame: polars.DataFrame, order: str, unit: str) -> polars.DataFrame:
    """Sort events that are in the order of ties."""
    return frame.sort(sorted_by(order, unit), maintain_order=True)


def sorted_by(order: str, unit: str) -> polars.Expr:
    """Return what of ``time`` the events are sorted by; equal values are ties."""
    time = polars.col("time")
    if order != RECBOLE:
        return time
    match unit:
        case "order" | "us":
            number = time
        case "ns":
            number = time * 1000
        case "ms":
            number = time / 1000
        case _:  # seconds, which RecBole's own files have where a source has dates, too
            number = time / 1_000_000
    return number.cast(polars.Float32)


def order_facts(name: str, times: Int64s, unit: str, users: Int32s, items: Int32s, targets: Int64s) -> dict[str, Any]:
    """Measure what hangs on the order of events.

    ``times``, ``users`` and ``items`` are of the events, users ascending, each user's in the order ``name``, (N,);
    ``targets`` are places of the test targets in them. ``times`` and ``unit`` are those that ``in_order`` sorted by:
    in coarser ones more events would tie.

    Returns:
        What the manifest has under ``event_order``:

        - ``neighbours_that_tie``: share of the pairs of events next to each other, of one user, whose times tie under
          this order; 0 without such a pair.
        - ``pairs_in_one_order``: how often two different users whose ties hold the same two items have them in one
          order: .5 by chance, 1 if the file decides; None if no two users can be compared.
        - ``targets_in_ties``: share of the test targets whose time ties with another event of their user: another rule
          of ties could have made that event the target; 0 without targets.
        - ``targets_that_repeat``: share of the test targets that are in the user's history; 0 without targets.
    """
    keys = polars.DataFrame({"time": times}).select(sorted_by(name, unit)).to_series().to_numpy()
    neighbours = users[1:] == users[:-1]
    tied = neighbours & (keys[1:] == keys[:-1])
    in_tie = numpy.zeros(len(users), dtype=bool)
    in_tie[1:] |= tied
    in_tie[:-1] |= tied
    return {
        "name": name,
        "neighbours_that_tie": float(tied.sum() / max(1, neighbours.sum())),
        "pairs_in_one_order": _in_one_order(tied, users, items),
        "targets_in_ties": float(in_tie[targets].sum() / max(1, len(targets))),
        "targets_that_repeat": float(repeats(users, items)[targets].sum() / max(1, len(targets))),
    }


def _in_one_order(tied: numpy.ndarray, users: Int32s, items: Int32s) -> float | None:
    """Return the share of pairs of different users that have a pair of items in one order, among those that can tell.

    ``tied``: event i + 1 ties with event i of the same user, (N - 1,).
    """
    group = numpy.concatenate([[0], numpy.cumsum(~tied)])  # of each event: ties share a number
    every = max(1, -(-_LAGS * int(tied.sum()) // _MOST_PAIRS))
    chosen = users % every == 0
    size = int(items.max()) + 1
    keys, owners_of = [], []
    for lag in range(1, _LAGS + 1):
        both = (group[lag:] == group[:-lag]) & chosen[lag:]
        first, second = items[:-lag][both].astype(numpy.int64), items[lag:][both].astype(numpy.int64)
        different = first != second
        low, high = numpy.minimum(first, second), numpy.maximum(first, second)
        keys.append(((low * size + high) * 2 + (first < second))[different])
        owners_of.append(users[lag:][both][different])
    pairs, places = numpy.unique(numpy.concatenate(keys), return_inverse=True)
    owners = numpy.concatenate(owners_of)
    agreeing = _between_users(places, owners)
    compared = _between_users(numpy.unique(pairs // 2, return_inverse=True)[1][places], owners)
    return agreeing / compared if compared else None


def _between_users(kinds: Int64s, owners: Int32s) -> float:
    """Return how many pairs of things are of one kind and of different users, each counted twice; (P,), (P,).

    >>> _between_users(numpy.array([0, 0, 0, 1]), numpy.array([5, 5, 6, 6], dtype="int32"))
    4.0
    """
    own = kinds * (int(owners.max(initial=0)) + 1) + owners
    totals, of_one_user = numpy.bincount(kinds), numpy.unique(own, return_counts=True)[1]
    return float((totals.astype(numpy.float64) ** 2).sum() - (of_one_user.astype(numpy.float64) ** 2).sum())

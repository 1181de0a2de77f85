"""In which order a user's events stand where their times tie, and how much hangs on it.

Half of MovieLens-1M's events share their second with another one of the same user, and its file lists movies in one
order for all users: where ties keep the order of the file, the file gives away what comes next. So numbers under two
orders are of two data sets, and every report says which it is.

- ``exact``: by time; ties keep the order of the file.
- ``recbole``: by time as RecBole 1.0 to 1.2.1 holds it, float32 seconds (recbole/data/dataset/dataset.py,
  ``_dataframe_to_interaction``; data/interaction.py, ``sort``), stably. Around the year 2000 that is a multiple of 64
  seconds: more ties, which keep the order of the file. The order of most published MovieLens figures.
- ``random-ties``: by time; ties in a random order, drawn from ``TIE_SEED``. The file gives nothing away.

Shapes: N events of all users, U users, V items.
"""

from typing import Any, Final

import numpy
import polars

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.data.repeats import repeats
from ssm4rec.data.time_units import ORDER

EXACT: Final = "exact"
RECBOLE: Final = "recbole"
RANDOM_TIES: Final = "random-ties"
EVENT_ORDERS: Final = (EXACT, RECBOLE, RANDOM_TIES)
TIE_SEED: Final = 0

_LAGS: Final = 4
"""Pairs of a tie that stand at most so many places apart are compared between users."""
_MOST_PAIRS: Final = 8_000_000
"""Of users evenly chosen, if there are more: some seconds of work, and the share is exact to four digits."""


def in_order(frame: polars.DataFrame, order: str, time_kind: str) -> polars.DataFrame:
    """Sort events of all users, which are in the order of the file.

    ``time`` is int64, microseconds or order numbers, as ``time_kind`` says: ``us`` or ``order``.

    >>> frame = polars.DataFrame({"item": ["b", "a", "d", "c"], "time": [7, 7, 9, 7]})
    >>> in_order(frame, "exact", "us")["item"].to_list()
    ['b', 'a', 'c', 'd']
    >>> seconds = polars.DataFrame({"item": ["b", "a"], "time": [978_300_019_000_000, 978_300_001_000_000]})
    >>> in_order(seconds, "exact", "us")["item"].to_list(), in_order(seconds, "recbole", "us")["item"].to_list()
    (['a', 'b'], ['b', 'a'])
    """
    match order:
        case "recbole":
            per_second = 1 if time_kind == ORDER else 1_000_000
            return frame.sort((polars.col("time") / per_second).cast(polars.Float32), maintain_order=True)
        case "random-ties":
            shuffled = frame[numpy.random.default_rng(TIE_SEED).permutation(frame.height)]
            return shuffled.sort("time", maintain_order=True)
        case _:
            return frame.sort("time", maintain_order=True)


def order_facts(
    name: str, times: Int64s, time_kind: str, users: Int32s, items: Int32s, targets: Int64s
) -> dict[str, Any]:
    """Measure what hangs on the order of events.

    ``times``, ``users`` and ``items`` are of the events, users ascending, each user's in the order ``name``, (N,);
    ``targets`` are places of the test targets in them. ``time_kind``: ``ms`` or ``order``.

    Returns:
        What the manifest has under ``event_order``:

        - ``neighbours_that_tie``: share of the pairs of events next to each other, of one user, whose times tie under
          this order; 0 without such a pair.
        - ``pairs_in_one_order``: how often two users whose ties hold the same two items have them in the same order:
          .5 by chance, 1 if the file decides; None if no two users can be compared.
        - ``targets_in_ties``: share of the test targets whose time ties with another event of their user: another rule
          of ties could have made that event the target; 0 without targets.
        - ``targets_that_repeat``: share of the test targets that are in the user's history; 0 without targets.
    """
    keys = (times / (1 if time_kind == ORDER else 1000)).astype(numpy.float32) if name == RECBOLE else times
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
    """Return the share of pairs of users that have a pair of items in the same order, among those that can tell.

    ``tied``: event i + 1 ties with event i of the same user, (N - 1,).
    """
    group = numpy.concatenate([[0], numpy.cumsum(~tied)])  # of each event: ties share a number
    every = max(1, -(-_LAGS * int(tied.sum()) // _MOST_PAIRS))
    chosen = users % every == 0
    size = int(items.max()) + 1
    keys = []
    for lag in range(1, _LAGS + 1):
        both = (group[lag:] == group[:-lag]) & chosen[lag:]
        first, second = items[:-lag][both].astype(numpy.int64), items[lag:][both].astype(numpy.int64)
        different = first != second
        low, high = numpy.minimum(first, second), numpy.maximum(first, second)
        keys.append(((low * size + high) * 2 + (first < second))[different])
    found, counts = numpy.unique(numpy.concatenate(keys), return_counts=True)
    pairs, places = numpy.unique(found // 2, return_inverse=True)
    totals = numpy.bincount(places, counts, minlength=len(pairs))
    agreeing = numpy.bincount(places, counts * (counts - 1.0), minlength=len(pairs)).sum()
    compared = (totals * (totals - 1.0)).sum()
    return float(agreeing / compared) if compared else None

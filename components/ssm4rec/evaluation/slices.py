"""Parts of an evaluation: targets by the length of their history and by popularity; how spread recommendations are.

- history length: the targets in quarters of equal size, by the number of items before them. Targets with equally
  long histories stay together, so the quarters are equal only as far as that allows, and there may be fewer of them.
- target popularity: ``head`` are the 20% of the catalog's items with the most training interactions (rounded up; of
  equal counts the lower item number comes first), ``tail`` are the others.
- coverage: the share of the catalog that is recommended to at least one user.
- Gini index: how unequal the items' numbers of recommendations are. 0: all equal; 1 - 1/V: one item takes all.

Shapes: T targets, n users, V items, K recommendations per user.
"""

import math
from typing import Any, Final

import numpy
from numpy.typing import NDArray

from ssm4rec.artifacts.dataset import Int32s, Int64s

HEAD_SHARE: Final = 0.2

_QUARTERS: Final = (0.25, 0.5, 0.75)

Parts = dict[str, NDArray[numpy.bool_]]
"""The targets of each part, (T,), by its name; every target is in one part."""


def parts_by_history_length(lengths: Int32s | Int64s) -> Parts:
    """Return the targets by the length of their history (T,), short ones first; a part is named by its bounds.

    >>> parts = parts_by_history_length(numpy.array([3, 4, 4, 4, 7, 8, 9, 90]))
    >>> {name: int(chosen.sum()) for name, chosen in parts.items()}
    {'3-4': 4, '7-8': 2, '9-90': 2}
    """
    bounds = numpy.unique(numpy.quantile(lengths, _QUARTERS, method="inverted_cdf"))
    quarter = numpy.searchsorted(bounds, lengths, side="left")  # the first bound that is not below the length
    parts = {}
    for number in numpy.unique(quarter):
        chosen = quarter == number
        shortest, longest = int(lengths[chosen].min()), int(lengths[chosen].max())
        parts[str(shortest) if shortest == longest else f"{shortest}-{longest}"] = chosen
    return parts


def parts_by_popularity(targets: Int32s | Int64s, training_counts: Int64s) -> Parts:
    """Return the targets (T,) that are head items, and those that are tail items, by items' training interactions.

    These are (V + 1,); entry 0 is padding.

    >>> counts = numpy.array([0, 5, 9, 1, 1, 1])
    >>> {name: chosen.tolist() for name, chosen in parts_by_popularity(numpy.array([1, 2, 5]), counts).items()}
    {'head': [False, True, False], 'tail': [True, False, True]}
    """
    item_count = len(training_counts) - 1
    by_count = numpy.argsort(-training_counts[1:], kind="stable") + 1
    is_head = numpy.zeros(item_count + 1, dtype=bool)
    is_head[by_count[: math.ceil(HEAD_SHARE * item_count)]] = True
    return {"head": is_head[targets], "tail": ~is_head[targets]}


def recommendation_counts(recommended: NDArray[numpy.integer[Any]], item_count: int) -> Int64s:
    """Return how often each item is recommended, (V,); ``recommended`` holds items 1..V, 0 for none, (n, K)."""
    return numpy.bincount(recommended.ravel(), minlength=item_count + 1)[1:]


def coverage(counts: Int64s) -> float:
    """Return the share of items that are recommended at all, from the items' numbers of recommendations (V,).

    >>> coverage(numpy.array([3, 0, 0, 1]))
    0.5
    """
    return float((counts > 0).mean())


def gini(counts: Int64s) -> float:
    """Return the Gini index of the items' numbers of recommendations (V,), not all zero.

    sum_i (2 i - V - 1) x_i / (V sum_i x_i) with x_1 <= ... <= x_V: half the mean absolute difference of two items
    drawn at random, over the mean.

    >>> gini(numpy.array([2, 2, 2, 2])), gini(numpy.array([0, 0, 0, 8]))
    (0.0, 0.75)
    """
    item_count = len(counts)
    weights = 2 * numpy.arange(1, item_count + 1) - item_count - 1
    return float(weights @ numpy.sort(counts) / (item_count * counts.sum()))

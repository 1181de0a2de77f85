"""What a list of recommendations is worth besides its accuracy: novelty, serendipity, diversity, popularity.

Definitions and edge cases are those of RecTools 0.19.0 (``rectools.metrics``), whose values the tests hold:

- novelty (``MeanInvUserFreq``): the mean of -log2(users who had the item / users) over the list, in bits. An item that
  nobody had in training counts as had by one user.
- serendipity (``Serendipity``): the mean over the list of max(0, p_user - p_anyone) for items that the user went on to
  have, else 0. p = (V + 1 - rank) / V, the rank in the list for the user, the rank by popularity for anyone (items with
  equal numbers of training interactions share one); p_anyone is 0 for an item without any.
- diversity (``IntraListDiversity``): the mean distance of two items of the list. The distance is ours, since most data
  sets have no features of items: 1 - |A & B| / sqrt(|A| |B|), A and B the users who had the items in training (cosine
  distance); 1 to an item that nobody had.
- popularity-debiased weights (``DebiasedNDCG``): no item may be the target more often than Q3 + 1.5 (Q3 - Q1) of the
  targets' numbers, rounded down. RecTools drops targets beyond that cap by chance; we weigh an item's targets by
  cap / number instead, which is the expected value of that chance and the same in every run.

Shapes: T targets, n users, V items, K recommendations per user, P pairs of items.
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy
import scipy.sparse
from numpy.typing import NDArray

from ssm4rec.artifacts.comparison import RecommendationsRow
from ssm4rec.artifacts.dataset import Int32s, Int64s, SequenceDataset
from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.evaluation.metrics import gains_at
from ssm4rec.evaluation.slices import coverage, gini, recommendation_counts
from ssm4rec.evaluation.statistics import Floats, bootstrap_means, by_user, interval

DIVERSITY_USERS: Final = 10_000
"""The lists of so many users, drawn by chance, are enough: their mean distance has two digits more than is shown."""

_IQR_COEFFICIENT: Final = 1.5
_PAIR_CELLS: Final = 2**22
"""Users of two items that are compared at a time: 48 MiB."""

Lists = NDArray[numpy.integer[Any]]
"""Items 1..V, best first, 0 behind the last of a shorter list, (n, K)."""


class TrainingUsers:
    """Who had which item in training.

    Attributes:
        by_item: 1 where a user had an item, (V + 1, U); row 0 is padding.
        interactions: of each item, repeated ones too, (V + 1,).
        users: how many users had any item.
    """

    def __init__(self, dataset: SequenceDataset) -> None:
        trained = dataset.trained()
        owners = numpy.repeat(numpy.arange(dataset.user_count), numpy.diff(dataset.offsets))[trained]
        cells = (dataset.items[trained], owners)
        shape = (dataset.item_count + 1, dataset.user_count)
        self.by_item = scipy.sparse.csr_array((numpy.ones(len(owners), dtype=numpy.int32), cells), shape=shape)
        self.by_item.data[:] = 1  # equal cells were summed
        self.interactions: Int64s = dataset.training_counts()
        self.users = len(numpy.unique(owners))

    def had_by(self) -> Int64s:
        """Return how many users had each item, (V + 1,)."""
        number: Int64s = numpy.diff(self.by_item.indptr).astype(numpy.int64)
        return number


@dataclass(frozen=True)
class Listed:
    """Lists of a model or baseline and the ranks that belong to them, both with the history masked or unmasked.

    Attributes:
        name, seed: whose; a baseline has no seed.
        users: whose lists they are, (n,).
        items: 1..V, best first, (n, K) or more columns.
        target_users, targets, ranks: of the targets, (T,).
    """

    name: str
    seed: int | None
    protocol: str
    users: Int32s
    items: Lists
    target_users: Int32s
    targets: Int32s
    ranks: Int32s


def recommendations_row(
    listed: Listed, training: TrainingUsers, cutoff: int, resamples: int, seed: int
) -> RecommendationsRow:
    """Judge lists, cut after K = ``cutoff`` items, and their ranks; intervals are over users."""
    lists = listed.items[:, :cutoff]
    counts = recommendation_counts(lists, len(training.interactions) - 1)
    had = numpy.stack([listed.target_users, listed.targets]).astype(numpy.int64)
    key = numpy.array([len(training.interactions), 1])
    relevant = numpy.isin(listed.users[:, None] * key[0] + lists, key @ had)
    rng = numpy.random.default_rng([seed, 2])
    some = numpy.arange(len(lists))
    if len(lists) > DIVERSITY_USERS:
        some = rng.choice(some, DIVERSITY_USERS, replace=False)
    weights = debiasing_weights(listed.targets)
    gains = gains_at("ndcg", listed.ranks, cutoff) * weights
    sums, _ = by_user(numpy.stack([gains, weights], axis=1), listed.target_users)

    def mean(values: Floats, weights: Floats) -> Estimate:
        drawn = bootstrap_means(numpy.stack([values, weights], axis=1), resamples, rng)
        return Estimate(float(values.sum() / weights.sum()), *interval(drawn[:, 0] / drawn[:, 1]), len(values))

    return RecommendationsRow(
        listed.name,
        listed.seed,
        len(lists),
        cutoff,
        coverage(counts),
        gini(counts),
        novelty=mean(novelty(lists, training), numpy.ones(len(lists))),
        serendipity=mean(serendipity(lists, relevant, training), numpy.ones(len(lists))),
        diversity=mean(diversity(lists[some], training), numpy.ones(len(some))),
        debiased_ndcg=mean(*sums.T),
        protocol=listed.protocol,
    )


def novelty(lists: Lists, training: TrainingUsers) -> Floats:
    """Return the novelty of each list, in bits, (n,)."""
    bits = -numpy.log2(numpy.maximum(training.had_by(), 1) / training.users)
    return _list_means(bits[lists], lists)


def serendipity(lists: Lists, relevant: NDArray[numpy.bool_], training: TrainingUsers) -> Floats:
    """Return the serendipity of each list, (n,).

    Args:
        lists: (n, K).
        relevant: which of their items the user went on to have, (n, K).
        training: the training interactions.
    """
    counts = training.interactions
    items = len(counts) - 1
    distinct = numpy.unique(counts[counts > 0])  # ascending
    rank = len(distinct) - numpy.searchsorted(distinct, counts)  # 1 for the highest number
    for_anyone = numpy.where(counts > 0, (items + 1 - rank) / items, 0.0)
    for_user = (items - numpy.arange(lists.shape[1])) / items  # (K,)
    gained = numpy.maximum(for_user - for_anyone[lists], 0.0)
    return _list_means(numpy.where(relevant, gained, 0.0), lists)


def diversity(lists: Lists, training: TrainingUsers) -> Floats:
    """Return the mean distance of two items of each list, 0 for a list of one, (n,)."""
    first, second = numpy.array(list(combinations(range(lists.shape[1]), 2)), dtype=numpy.int64).reshape(-1, 2).T
    pairs = numpy.sort(numpy.stack([lists[:, first], lists[:, second]], axis=-1), axis=-1)  # (n, P, 2)
    present = pairs[..., 0] > 0
    keys, places = numpy.unique(pairs @ numpy.array([len(training.interactions), 1]), return_inverse=True)
    distances = item_distances(*numpy.divmod(keys, len(training.interactions)), training)[places].reshape(present.shape)
    mean: Floats = numpy.where(present, distances, 0.0).sum(axis=1) / numpy.maximum(present.sum(axis=1), 1)
    return mean


def item_distances(first: Int64s, second: Int64s, training: TrainingUsers) -> Floats:
    """Return 1 - |A & B| / sqrt(|A| |B|) of pairs of items, (P,)."""
    had_by = training.had_by()
    ends = numpy.cumsum(had_by[first] + had_by[second])
    common = numpy.zeros(len(first))
    parts = numpy.flatnonzero(numpy.diff(ends // _PAIR_CELLS)) + 1
    for part in numpy.split(numpy.arange(len(first)), parts):
        common[part] = training.by_item[first[part]].multiply(training.by_item[second[part]]).sum(axis=1)
    norm = numpy.sqrt(had_by[first].astype(numpy.float64) * had_by[second])
    return 1 - common / numpy.maximum(norm, 1)


def debiasing_weights(targets: Int32s | Int64s) -> Floats:
    """Return the weight of each target, cap / number of its item's targets and at most 1, (T,).

    The debiased metric is the weighted mean of the gains.

    >>> debiasing_weights(numpy.array([1, 2, 3, 3, 4, 4, 5, 5, 5, 5, 5, 5]))  # numbers 1 1 2 2 6: Q1 1, Q3 2, cap 3
    array([1. , 1. , 1. , 1. , 1. , 1. , 0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    """
    _, item, numbers = numpy.unique(targets, return_inverse=True, return_counts=True)
    low, high = numpy.quantile(numbers, (0.25, 0.75))
    cap = int(high + _IQR_COEFFICIENT * (high - low))
    return numpy.minimum(cap / numbers, 1.0)[item]


def _list_means(values: Floats, lists: Lists) -> Floats:
    """Return the means over the items of each list, 0 for an empty one, (n,)."""
    present = lists > 0
    mean: Floats = numpy.where(present, values, 0.0).sum(axis=1) / numpy.maximum(present.sum(axis=1), 1)
    return mean

"""Preference pairs for alignment: of two items, which one a user prefers after a history (the paper's section 3.5.2).

Three parts, each with at most one pair per user; the first two are the paper's:

- ``ratings``, "created from the last 2 items from the user history, where the winner is the item with the higher
  rating and the loser the opposite": the last two items of the training history, after the items before them.
- ``lightfm``, "took the last user's movie as the winner and the worst recommendation of LightFM as the loser": the
  last training item against the item that a LightFM model scores lowest of those the user did not have in training.
- ``retriever``, ours: the last training item against a hard negative, one of the retriever's best candidates after the
  items before it that the user did not have in training.

Pairs are of training items alone. What is held out decides nothing, not even what is left out: losers that are never
a target would tell which item is one. So a loser may be the user's validation or test target, as in use.

Shapes: U users, n pairs.
"""

from collections.abc import Callable

import numpy

from ssm4rec.artifacts.dataset import Flags, Float32s, Int32s, Int64s, SequenceDataset
from ssm4rec.artifacts.names import CANDIDATES_PER_USER
from ssm4rec.artifacts.preferences import LIGHTFM, RATINGS, RETRIEVER, Pairs
from ssm4rec.artifacts.ranks import FullRanking

Scorer = Callable[[Int64s, Int32s], Float32s]
"""From users (n,) and items 1..V (n,) to a recommender's scores of each user's item (n,)."""


def rating_pairs(dataset: SequenceDataset, ratings: Float32s) -> tuple[Pairs, dict[str, int]]:
    """Return the pairs of the last two training items, by user, and what became of the users.

    ``ratings``: of the events in ``dataset.items``, NaN where there is none.

    Returns:
        The pairs, and counts in which every user is counted once: ``pairs``; ``users_too_short``, fewer than three
        training items, so that no history is left before the last two; ``unrated``, a rating of these is missing;
        ``ties``, they are rated the same, or are the same item.
    """
    users = numpy.flatnonzero(dataset.train_length >= 3)
    later = dataset.offsets[users] + dataset.train_length[users] - 1
    later_wins = ratings[later] > ratings[later - 1]
    won, lost = numpy.where(later_wins, later, later - 1), numpy.where(later_wins, later - 1, later)
    winners, losers = dataset.items[won], dataset.items[lost]

    rated = ~numpy.isnan(ratings[won] + ratings[lost])
    differ = (ratings[won] != ratings[lost]) & (winners != losers)
    kept = rated & differ
    unscored = numpy.full(numpy.count_nonzero(kept), numpy.nan, dtype=numpy.float32)
    pairs = Pairs(
        users=users[kept].astype(numpy.int32),
        winners=winners[kept],
        losers=losers[kept],
        history_lengths=dataset.train_length[users[kept]] - numpy.int32(2),
        origins=numpy.full(len(unscored), RATINGS),
        winner_ratings=ratings[won[kept]],
        loser_ratings=ratings[lost[kept]],
        winner_scores=unscored,
        loser_scores=unscored,
    )
    return pairs, {
        "pairs": len(pairs),
        "users_too_short": dataset.user_count - len(users),
        "unrated": _count(~rated),
        "ties": _count(rated & ~differ),
    }


def lightfm_pairs(dataset: SequenceDataset, worst_items: Int32s, score: Scorer) -> tuple[Pairs, dict[str, int]]:
    """Return the pairs of each user's last training item and worst unseen item, by user, and what became of the users.

    ``worst_items``: each user's, 0 for users who have had every item, shape (U,); ``score``: for the record.

    Returns:
        The pairs, and counts in which every user is counted once: ``pairs``; ``users_too_short``, fewer than two
        training items, so that no history is left before the last one; ``nothing_unseen``, the user has had every item.
        ``distinct_losers`` are items.
    """
    users = numpy.flatnonzero(dataset.train_length >= 2)
    winners = dataset.items[dataset.offsets[users] + dataset.train_length[users] - 1]
    losers = worst_items[users]
    kept = losers > 0
    unrated = numpy.full(numpy.count_nonzero(kept), numpy.nan, dtype=numpy.float32)
    pairs = Pairs(
        users=users[kept].astype(numpy.int32),
        winners=winners[kept],
        losers=losers[kept],
        history_lengths=dataset.train_length[users[kept]] - numpy.int32(1),
        origins=numpy.full(len(unrated), LIGHTFM),
        winner_ratings=unrated,
        loser_ratings=unrated,
        winner_scores=score(users[kept], winners[kept]),
        loser_scores=score(users[kept], losers[kept]),
    )
    return pairs, {
        "pairs": len(pairs),
        "users_too_short": dataset.user_count - len(users),
        "nothing_unseen": _count(~kept),
        "distinct_losers": len(numpy.unique(pairs.losers)),
    }


def retriever_pairs(dataset: SequenceDataset, ranking: FullRanking, seed: int) -> tuple[Pairs, dict[str, int]]:
    """Return the pairs of each user's last training item and a hard negative, by user, and what became of the users.

    ``ranking``: of ``dataset.training_alone()``, with a retriever's candidates before each user's last training item,
    one more than are drawn from. A loser is drawn by ``seed`` from the best 20 of them without that item.

    Returns:
        The pairs, and the counts of :func:`lightfm_pairs`.
    """
    rng = numpy.random.default_rng([seed, 0x48415244])
    unseen = numpy.isfinite(ranking.candidate_scores) & (ranking.candidates != ranking.targets[:, None])
    unseen &= unseen.cumsum(axis=1) <= CANDIDATES_PER_USER
    kept = unseen.any(axis=1)
    rows = numpy.flatnonzero(kept)
    places = numpy.array([rng.choice(numpy.flatnonzero(unseen[row])) for row in rows], numpy.int64)
    unknown = numpy.full(len(rows), numpy.nan, dtype=numpy.float32)
    pairs = Pairs(
        users=ranking.users[rows].astype(numpy.int32),
        winners=ranking.targets[rows].astype(numpy.int32),
        losers=ranking.candidates[rows, places].astype(numpy.int32),
        history_lengths=ranking.history_lengths[rows].astype(numpy.int32),
        origins=numpy.full(len(rows), RETRIEVER),
        winner_ratings=unknown,
        loser_ratings=unknown,
        winner_scores=unknown,
        loser_scores=ranking.candidate_scores[rows, places],
    )
    return pairs, {
        "pairs": len(pairs),
        "users_too_short": dataset.user_count - len(ranking.users),
        "nothing_unseen": _count(~kept),
        "distinct_losers": len(numpy.unique(pairs.losers)),
    }


def _count(users: Flags) -> int:
    return int(numpy.count_nonzero(users))

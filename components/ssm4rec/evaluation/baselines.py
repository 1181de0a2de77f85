"""Baselines that nobody trains: what a recommender must beat before its training has paid.

- ``most-popular``: items by their number of training interactions, the same for all users.
- ``most-recent``: the items of the history, most recent first, then the others by popularity.
- ``most-frequent``: the items of the history by how often the user had them (ties: more recent first), then the others
  by popularity.
- ``most-popular-lately``: items by their number of training interactions in the last ``LATELY_DAYS`` days of training;
  equal ones by all their training interactions. Of data split by time, where training ends at one moment for all users.
- ``markov``: a Markov chain with three lags. From the training items alone: which share of the items that stood ``lag``
  places after item a were item b. An item's score is the weighted sum of these shares, given the last three items of
  the history. Items without a transition stand below all others, and those and equal scores are in order of popularity.

They read whole histories: ``seen`` holds them, however few items a scorer is given.

Shapes: B targets of a batch, V items, L = 3 or fewer items of a history, S cells of histories, N events.
"""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy
import scipy.sparse
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import Int32s, Int64s, SequenceDataset, Split
from ssm4rec.artifacts.names import (
    CANDIDATES_PER_USER,
    LISTED_BASELINES,
    MARKOV,
    MOST_FREQUENT,
    MOST_POPULAR,
    MOST_POPULAR_LATELY,
    MOST_RECENT,
)
from ssm4rec.artifacts.ranks import FullRanking
from ssm4rec.evaluation.full_ranking import Scorer, full_ranking

MARKOV_WEIGHTS: Final = (1.0, 0.7, 0.5)
"""Of lags 1, 2 and 3, chosen by validation NDCG@10, unmasked and masked. MovieLens-1M: .1270 and .1504, the best of
three choices. MovieLens-100K, of nine choices: .0604 (the best .0611) and .0830 (the best)."""

LATELY_DAYS: Final = 7.0
_DAY: Final = 86_400_000  # milliseconds

_COUNTED_TOGETHER: Final = 1 << 22
"""Events whose transitions take 60 bytes each, for a while."""
_BY_POPULARITY: Final = 1e-10
"""All that popularity adds to a score of the Markov chain: less than the rarest transition of data sets of up to a
billion events, more than the rounding of float64."""


def baseline_rankings(
    scorers: Mapping[str, Scorer], dataset: SequenceDataset, split: Split, device: torch.device
) -> dict[str, FullRanking]:
    """Rank the whole catalog for every target of a split by every baseline; those of LISTED_BASELINES get candidates.

    ``scorers`` are :func:`baseline_scorers` of these data, or of data that these are a part of, on ``device``. Raise
    InputError if nobody is in the split.
    """
    last = len(MARKOV_WEIGHTS)
    return {
        name: full_ranking(scorer, dataset, split, last, device, list_length(name)) for name, scorer in scorers.items()
    }


def list_length(name: str) -> int:
    """Return how many candidates a baseline gets."""
    return CANDIDATES_PER_USER if name in LISTED_BASELINES else 0


def baseline_scorers(dataset: SequenceDataset, device: torch.device, times: Int64s | None = None) -> dict[str, Scorer]:
    """Return the scorer of every baseline, by its name: what it counts of all training items is in it.

    ``times`` are of the events of ``dataset``, if it is split by time, in milliseconds, (N,); None leaves out the
    baseline that needs them.
    """
    scorers: dict[str, Scorer] = {
        MOST_POPULAR: most_popular_scorer(dataset, device),
        MOST_RECENT: most_recent_scorer(dataset, device),
        MOST_FREQUENT: most_frequent_scorer(dataset, device),
        MARKOV: markov_scorer(dataset, device),
    }
    if times is not None:
        scorers[MOST_POPULAR_LATELY] = most_popular_lately_scorer(dataset, device, times)
    return scorers


def most_popular_scorer(dataset: SequenceDataset, device: torch.device) -> Scorer:
    """Score every item by its number of training interactions, the same for all users."""
    counts = _popularity(dataset).to(device)
    return lambda items, *_: counts.expand(len(items), -1)


def most_popular_lately_scorer(
    dataset: SequenceDataset, device: torch.device, times: Int64s, days: float = LATELY_DAYS
) -> Scorer:
    """Score every item by its number of training interactions in the last days of training, then by all of them.

    ``times`` are of the events of ``dataset``, in milliseconds, (N,).
    """
    scores = popularity_lately(dataset, times, days, training_alone=True).to(device)
    return lambda items, *_: scores.expand(len(items), -1)


def popularity_lately(
    dataset: SequenceDataset, times: Int64s, days: float = LATELY_DAYS, *, training_alone: bool
) -> Tensor:
    """Return the number of events of items 1..V in the last days, and less than one more by all their events, (V,).

    ``times`` are of the events of ``dataset``, in milliseconds, (N,); ``training_alone``: of training events.
    """

    def blocks() -> Iterator[tuple[Int32s, Int64s]]:
        for users in dataset.blocks():
            part = dataset.part(users)
            own = part.trained() if training_alone else slice(None)
            yield part.items[own], times[dataset.offsets[users.start] : dataset.offsets[users.stop]][own]

    last = max((int(moments.max()) for _, moments in blocks() if len(moments)), default=0)
    new, all_of_them = numpy.zeros((2, dataset.item_count + 1), dtype=numpy.int64)
    for items, moments in blocks():
        new += numpy.bincount(items[moments > last - days * _DAY], minlength=len(new))
        all_of_them += numpy.bincount(items, minlength=len(new))
    new, all_of_them = new[1:], all_of_them[1:]
    return torch.from_numpy(new + all_of_them / (all_of_them.sum() + 1))


def most_recent_scorer(dataset: SequenceDataset, device: torch.device) -> Scorer:
    """Score the items of the history by the place of their last event, all above the others."""
    counts = _popularity(dataset).to(device)
    above = counts.max() + 1

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:  # noqa: ARG001 - reads the whole history
        scores = counts.repeat(len(items), 1)
        places = above + torch.arange(len(seen), device=device)  # later in the row, later in time
        scores.view(-1).scatter_reduce_(0, seen, places, "amax")
        return scores

    return score


def most_frequent_scorer(dataset: SequenceDataset, device: torch.device) -> Scorer:
    """Score the items of the history by their number of events in it, then by the last one, all above the others."""
    counts = _popularity(dataset).to(device)
    above = counts.max() + 1

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:  # noqa: ARG001 - reads the whole history
        scores = counts.repeat(len(items), 1)
        distinct: tuple[Tensor, Tensor, Tensor] = seen.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
        cells, cell_of_event, times_had = distinct
        events = torch.arange(len(seen), device=device)
        last = torch.zeros_like(cells).scatter_reduce_(0, cell_of_event, events, "amax")
        scores.view(-1)[cells] = above + times_had * len(seen) + last
        return scores

    return score


def markov_scorer(
    dataset: SequenceDataset, device: torch.device, weights: tuple[float, ...] = MARKOV_WEIGHTS
) -> Scorer:
    """Score every item by the transitions that lead to it from the last items of the history, on the CPU.

    Transitions are between training items only; ``weights`` are of the lags 1, 2, ...
    """
    by_lag = [_transitions(dataset, lag) for lag in range(1, len(weights) + 1)]
    totals = [counts.sum(axis=1) for counts in by_lag]
    training_counts = _popularity(dataset).numpy()
    popularity = _BY_POPULARITY * training_counts / max(training_counts.max(), 1.0)

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:  # noqa: ARG001 - reads the last items
        histories, ends = items.cpu().numpy(), lengths.cpu().numpy()
        owners, found = [], []
        for lag, (counts, total, weight) in enumerate(zip(by_lag, totals, weights, strict=True), start=1):
            long_enough = numpy.flatnonzero(ends >= lag)
            sources = histories[long_enough, ends[long_enough] - lag] - 1
            shares = counts[sources].astype(numpy.float64)
            shares.data /= numpy.repeat(total[sources], numpy.diff(shares.indptr))
            owners.append(long_enough)
            found.append(weight * shares)
        places = (numpy.concatenate(owners), numpy.arange(sum(map(len, owners))))
        chosen = scipy.sparse.csr_array((numpy.ones(len(places[0])), places), shape=(len(histories), len(places[0])))
        return torch.from_numpy((chosen @ scipy.sparse.vstack(found, format="csr")).toarray() + popularity).to(device)

    return score


def _popularity(dataset: SequenceDataset) -> Tensor:
    """Return the number of training interactions of items 1..V, (V,), float64: exact, also with places added."""
    return torch.from_numpy(dataset.training_counts()[1:].astype(numpy.float64))


def _transitions(dataset: SequenceDataset, lag: int) -> scipy.sparse.csr_array:
    """Count, for each item, the training items that stand ``lag`` places after it, (V, V).

    Whole numbers: 8 bytes for each transition that differs from others, where shares would take 12.
    """
    counts = scipy.sparse.csr_array((dataset.item_count, dataset.item_count), dtype=numpy.int32)
    for part in dataset.parts(_COUNTED_TOGETHER):
        lengths = numpy.diff(part.offsets)
        places = numpy.arange(len(part.items)) - numpy.repeat(part.offsets[:-1], lengths)  # (N,)
        first = numpy.flatnonzero(places + lag < numpy.repeat(part.train_length, lengths))
        cells = (part.items[first] - 1, part.items[first + lag] - 1)
        # Equal cells are summed.
        counts += scipy.sparse.csr_array((numpy.ones(len(first), dtype=numpy.int32), cells), shape=counts.shape)
    return counts

"""Full ranking: where each user's target stands among all items of the catalog.

rank = 1 + the number of items scored higher + the number of other items scored the same: ties count against the
model, so a constant model ranks every target last. Two protocols, never mixed:

- unmasked: all items compete, those of the history too (RecBole's sequential evaluation, the paper's protocol);
- masked: the items of the user's whole history are removed. A target that the user has had before stays in.

Shapes: n users of the split, B rows of a batch, V items, K candidates.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from ssm4rec.data.batches import gather_rows, length_buckets
from ssm4rec.data.dataset import Int64s, SequenceDataset, Split
from ssm4rec.errors import InputError

Scorer = Callable[[Tensor, Tensor], Tensor]
"""From histories (B, L), int64, padded on the right with 0, and their lengths (B,) to scores (B, V) of items 1..V."""

_SCORE_CELLS = 2**25
"""Scores held at a time: 128 MiB of float32. At 211,000 items a batch has 159 users."""
_TOKENS = {"cpu": 2**12, "cuda": 2**18}
"""Cells of a batch of histories: on a CPU as many as its caches hold (measured: 2^14 took 1.4 times as long)."""


class ScoresNotNumbersError(InputError):
    """A model gave scores that are NaN or infinite, so that nothing can be ranked."""


@dataclass(frozen=True)
class FullRanking:
    """Ranks (1 = best) of the targets of a split's users, each array (n,) but the candidates' (n, K)."""

    users: Int64s
    targets: Int64s
    history_lengths: Int64s
    unmasked: Int64s
    masked: Int64s
    candidates: numpy.ndarray[tuple[int, int], numpy.dtype[numpy.int64]]
    candidate_scores: numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]


@torch.no_grad()
def full_ranking(
    scorer: Scorer,
    dataset: SequenceDataset,
    split: Split,
    maximum_length: int,
    device: torch.device,
    candidate_count: int = 0,
) -> FullRanking:
    """Rank the whole catalog for every user of a split.

    Args:
        scorer: gives the scores; sees the last ``maximum_length`` items of a history.
        dataset: the sequences.
        split: whose targets are ranked.
        maximum_length: of the histories given to the scorer.
        device: where the scorer computes.
        candidate_count: K, the number of best unseen items to return for each user.

    Raises:
        ScoresNotNumbersError: the model gave a score that is NaN or infinite.
        InputError: nobody is in the split.
    """
    positions = dataset.position(split)
    users = numpy.flatnonzero(positions > 0)
    if not len(users):
        raise InputError(f"data set {dataset.name}: no user has a {split} target; split it otherwise (--split)")
    starts, lengths = dataset.offsets[users], positions[users].astype(numpy.int64)
    targets = dataset.items[starts + lengths].astype(numpy.int64)
    read = numpy.minimum(lengths, maximum_length)
    count = min(candidate_count, dataset.item_count)
    unmasked, masked = numpy.zeros_like(lengths), numpy.zeros_like(lengths)
    candidates = numpy.zeros((len(users), count), dtype=numpy.int64)
    candidate_scores = numpy.zeros((len(users), count), dtype=numpy.float32)
    for batch in length_buckets(read, cells=_TOKENS[device.type], rows=max(1, _SCORE_CELLS // dataset.item_count)):
        recent = gather_rows(dataset.items, (starts + lengths - read)[batch], read[batch])
        scores = scorer(torch.from_numpy(recent).to(device), torch.from_numpy(read[batch]).to(device))
        if not torch.isfinite(scores.sum()):
            raise ScoresNotNumbersError("the model's scores are NaN or infinite: its training diverged; train it anew")
        target = torch.from_numpy(targets[batch]).to(device)
        history = torch.from_numpy(gather_rows(dataset.items, starts[batch], lengths[batch])).to(device)
        unseen = remove_history(scores, history)
        unmasked[batch] = unmasked_ranks(scores, target).cpu().numpy()
        masked[batch] = masked_ranks(scores, unseen, target).cpu().numpy()
        if count:
            best = unseen.topk(count)
            candidates[batch] = best.indices.cpu().numpy() + 1
            candidate_scores[batch] = best.values.float().cpu().numpy()
    return FullRanking(users, targets, lengths, unmasked, masked, candidates, candidate_scores)


def unmasked_ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the ranks (B,) of ``targets`` (B,), in 1..V, among all items by ``scores`` (B, V).

    >>> unmasked_ranks(torch.tensor([[0.5, 0.9, 0.5, 0.1]]), torch.tensor([1]))  # one higher, one tie
    tensor([3])
    """
    return (scores >= scores.gather(1, targets[:, None] - 1)).sum(dim=1)


def masked_ranks(scores: Tensor, unseen: Tensor, targets: Tensor) -> Tensor:
    """Return the ranks (B,) of ``targets`` among the items that ``remove_history`` left in ``unseen`` (B, V).

    >>> scores = torch.tensor([[0.5, 0.9, 0.5, 0.1]])
    >>> masked_ranks(scores, remove_history(scores, torch.tensor([[2, 4]])), torch.tensor([1]))
    tensor([2])
    >>> masked_ranks(scores, remove_history(scores, torch.tensor([[2, 1]])), torch.tensor([1]))  # the target returns
    tensor([2])
    """
    columns = targets[:, None] - 1
    returning = unseen.gather(1, columns).isinf()[:, 0]  # removed with the history, but it counts as one of the items
    return (unseen >= scores.gather(1, columns)).sum(dim=1) + returning


def remove_history(scores: Tensor, history: Tensor) -> Tensor:
    """Return ``scores`` (B, V) with the items of ``history`` (B, L), 0 where padded, at minus infinity."""
    columns = torch.where(history > 0, history, history[:, :1]) - 1  # padding removes the first item once more
    return scores.scatter(1, columns, -torch.inf)


def most_popular_scorer(dataset: SequenceDataset, device: torch.device) -> Scorer:
    """Score every item by its number of training interactions, the same for all users."""
    counts = torch.from_numpy(dataset.training_counts()[1:].astype(numpy.float64)).to(device)

    def score(items: Tensor, lengths: Tensor) -> Tensor:  # noqa: ARG001 - the baseline reads no history
        return counts.expand(len(items), -1)

    return score

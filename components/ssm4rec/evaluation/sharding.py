"""What an evaluation finds out of every target: of all users at once, or by shards of users that processes share.

Users in a batch with others get scores that differ in the last bit, and with them, seldom, a rank and the order of a
list. So shards follow from the data: what is found by shards is the same however many processes there are.

Shapes: T targets of a split, U users.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy
import torch

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, Split
from ssm4rec.artifacts.names import CANDIDATES_PER_USER
from ssm4rec.artifacts.ranks import FullRanking
from ssm4rec.artifacts.user_blocks import user_blocks
from ssm4rec.evaluation.baselines import baseline_rankings, baseline_scorers, list_length
from ssm4rec.evaluation.full_ranking import Scorer, full_ranking, unranked
from ssm4rec.evaluation.likelihood import Floats, target_losses
from ssm4rec.models.recommender import Recommender
from ssm4rec.runtime.ray_workers import in_parts

logger = logging.getLogger(__name__)

_TARGETS: Final = 1 << 10
"""Of a shard: of fewer, batches would have few rows."""
_SHARDS: Final = 1 << 10
"""Of a large split; at most twice as many where users have many targets. Each is a task of Ray."""


@dataclass(frozen=True)
class Evaluated:
    """What was found out of a split's targets.

    Attributes:
        ranking: by the model.
        baselines: by each baseline.
        losses: of the model, as ``target_losses`` returns them, (T,).
        shards: of users, each found out by itself; 1: all users at once.
    """

    ranking: FullRanking
    baselines: Mapping[str, FullRanking]
    losses: Floats
    shards: int = 1


class Shard(NamedTuple):
    """Users who follow one another; where their targets, and those of them who have some, stand among all."""

    users: slice
    targets: slice
    lists: slice


@dataclass(frozen=True)
class _Evaluator:
    model: Recommender
    baselines: Mapping[str, Scorer]
    dataset: SequenceDataset
    split: Split
    choose_device: Callable[[], torch.device]

    def __call__(self, shard: Shard) -> Evaluated:
        return self.of(self.dataset.part(shard.users))

    def of(self, dataset: SequenceDataset) -> Evaluated:
        device, split = self.choose_device(), self.split
        model = self.model.to(device)
        return Evaluated(
            full_ranking(
                model.score_next, dataset, split, model.max_length, device, CANDIDATES_PER_USER, one_pass=model.causal
            ),
            baseline_rankings(self.baselines, dataset, split, device),
            target_losses(model, dataset, split, device),
        )


def evaluated(
    model: Recommender,
    dataset: SequenceDataset,
    split: Split,
    choose_device: Callable[[], torch.device],
    times: Int64s | None,
    workers: int,
) -> Evaluated:
    """Rank the targets of a split, all users at once, or by shards if there are to be several ``workers``.

    Args:
        choose_device: says where a process computes.
        times: see ``baseline_scorers``.

    Raises:
        ScoresNotNumbersError: the model gave a score that is NaN or infinite.
        InputError: nobody is in the split, or Ray does not start.
    """
    scorers = baseline_scorers(dataset, choose_device(), times)
    evaluator = _Evaluator(model, scorers, dataset, split, choose_device)
    if workers == 1:
        return evaluator.of(dataset)
    shares, targets = shards(dataset, split), dataset.targets(split)
    whole = Evaluated(
        unranked(dataset, split, CANDIDATES_PER_USER, targets),
        {name: unranked(dataset, split, list_length(name), targets) for name in scorers},
        numpy.empty(len(targets[0])),
        len(shares),
    )
    if len(shares) > 1:
        many = f"up to {workers}" if workers else "all"
        logger.info("%d shards of users, for %s processes of Ray", len(shares), many)
    for shard, part in in_parts(evaluator, shares, workers, choose_device().type):
        _fill(whole.ranking, part.ranking, shard)
        for name, ranking in part.baselines.items():
            _fill(whole.baselines[name], ranking, shard)
        whole.losses[shard.targets] = part.losses
    return whole


def shards(dataset: SequenceDataset, split: Split) -> list[Shard]:
    """Return the users with targets in shards of about as many targets; one user may have more."""
    counts = dataset.target_counts(split)
    targets, lists = (numpy.concatenate([[0], numpy.cumsum(each, dtype=numpy.int64)]) for each in (counts, counts > 0))
    size = max(_TARGETS, int(targets[-1]) // _SHARDS)
    found = (
        Shard(users, *(slice(int(ends[users.start]), int(ends[users.stop])) for ends in (targets, lists)))
        for users in user_blocks(targets, size)
    )
    return [shard for shard in found if shard.targets.start < shard.targets.stop]


def _fill(whole: FullRanking, part: FullRanking, shard: Shard) -> None:
    """Copy what was found of a shard's targets to their places among all."""
    whole.unmasked[shard.targets], whole.masked[shard.targets] = part.unmasked, part.masked
    whole.candidates[shard.lists] = part.candidates
    whole.candidate_scores[shard.lists] = part.candidate_scores
    whole.unmasked_candidates[shard.lists] = part.unmasked_candidates

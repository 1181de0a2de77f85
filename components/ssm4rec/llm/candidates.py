"""Who is ranked: the users whose target a retriever found, their histories, and their candidates in two orders."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from ssm4rec.artifacts.candidates import Candidates
from ssm4rec.artifacts.dataset import Int32s, SequenceDataset, Split
from ssm4rec.artifacts.rankings import RETRIEVER_ORDER, SHUFFLED_ORDER
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True)
class RankingTask:
    """n users with their histories and candidates.

    Attributes:
        users, targets: shape (n,).
        histories: everything before the target, oldest first.
        candidates: in each of ``ORDERS``.
        scores: the retriever's, of the candidates in these orders.
        population: users of the split.
        found: of these, those whose target is among the candidates; n of them are in the task.
    """

    users: Int32s
    targets: Int32s
    histories: Sequence[list[int]]
    candidates: dict[str, Sequence[list[int]]]
    scores: dict[str, Sequence[list[float]]]
    population: int
    found: int

    def places(self, order: str) -> Int32s:
        """Return the target's place among the candidates, from 0; shape (n,)."""
        pools = zip(self.candidates[order], self.targets.tolist(), strict=True)
        return numpy.array([pool.index(target) for pool, target in pools], numpy.int32)

    @property
    def sizes(self) -> Int32s:
        """How many candidates each user has; shape (n,)."""
        return numpy.array([len(pool) for pool in self.candidates[RETRIEVER_ORDER]], numpy.int32)


def ranking_task(
    dataset: SequenceDataset, candidates: Candidates, split: Split, maximum_users: int, seed: int
) -> RankingTask:
    """Draw at most so many users whose target was found (0: all of them), and the shuffled order of their candidates.

    Raise InputError if the candidates are of another split, or not of all its users, or the retriever found no target
    at all.
    """
    if candidates.split != split:
        raise InputError(
            f"the candidates of {candidates.model} are of the {candidates.split} split, not of {split}; "
            f"run evaluate with --split {split} and give its candidates.parquet"
        )
    of_split = numpy.flatnonzero(dataset.position(split) >= 0)
    if not numpy.array_equal(candidates.users, of_split):
        listed = numpy.isin(of_split, candidates.users).sum()
        raise InputError(
            f"the candidates of {candidates.model} are of {listed:,} of the {len(of_split):,} users of the {split} "
            "split, and means over all users need all of them; run evaluate again"
        )
    starts = dataset.offsets[candidates.users]
    ends = starts + dataset.position(split)[candidates.users]
    targets = dataset.items[ends]
    found = numpy.flatnonzero((candidates.items == targets[:, None]).any(axis=1))
    if not len(found):
        raise InputError(
            f"the retriever {candidates.model} found no user's target among its candidates ({split}): there is nothing "
            "to rank; train it longer"
        )
    rng = numpy.random.default_rng([seed, 0x52414E4B])
    chosen = found
    if 0 < maximum_users < len(found):
        chosen = numpy.sort(rng.choice(found, maximum_users, replace=False))
    pools = [[int(item) for item in candidates.items[row] if item] for row in chosen]
    shuffled = [rng.permutation(pool).tolist() for pool in pools]
    known = [dict(zip(candidates.items[row].tolist(), candidates.scores[row].tolist(), strict=True)) for row in chosen]
    return RankingTask(
        users=candidates.users[chosen],
        targets=targets[chosen],
        histories=[dataset.items[starts[row] : ends[row]].tolist() for row in chosen],
        candidates={RETRIEVER_ORDER: pools, SHUFFLED_ORDER: shuffled},
        scores={
            order: [[score[item] for item in pool] for score, pool in zip(known, lists, strict=True)]
            for order, lists in ((RETRIEVER_ORDER, pools), (SHUFFLED_ORDER, shuffled))
        },
        population=len(candidates.users),
        found=len(found),
    )

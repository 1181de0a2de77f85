"""How targets whose item has no training event (cold) are ranked, and all others (warm), against popularity and chance.

Chance is exact: an order by lot puts a target at each rank of its list equally often. Popularity ranks cold items last:
they have no event to be counted.

Shapes: T targets, V items, N events.
"""

from collections.abc import Mapping
from typing import Final, Literal

import numpy
from numpy.typing import NDArray

from ssm4rec.artifacts.dataset import Flags, Int64s, SequenceDataset
from ssm4rec.artifacts.evaluations import PartRow, TargetPart
from ssm4rec.artifacts.names import CUTOFFS, MASKED, METRICS, RANDOM, UNMASKED, metric_name
from ssm4rec.artifacts.ranks import MISSED, FullRanking
from ssm4rec.data.repeats import repeats
from ssm4rec.evaluation.metrics import gains_at

Float64s = NDArray[numpy.float64]

_ALONE: Final = 0.0
"""The standard error of the mean of a single target, which is not known."""


def warm_and_cold(dataset: SequenceDataset, rankings: Mapping[str, FullRanking]) -> tuple[TargetPart, ...]:
    """Return the metrics of warm and of cold targets; nothing if there are no cold ones.

    ``rankings`` are of one split, by the name of the model or the baseline.
    """
    counts = dataset.training_counts()
    ranking = next(iter(rankings.values()))
    cold = counts[ranking.targets] == 0
    if not cold.any():
        return ()
    items = {"warm": int((counts[1:] > 0).sum()), "cold": int((counts[1:] == 0).sum())}
    parts: tuple[tuple[Literal["warm", "cold"], Flags], ...] = (("warm", ~cold), ("cold", cold))
    return tuple(
        TargetPart(name, int(part.sum()), items[name], _rows(dataset, rankings, ranking, part))
        for name, part in parts
        if part.any()
    )


def _rows(
    dataset: SequenceDataset, rankings: Mapping[str, FullRanking], ranking: FullRanking, part: Flags
) -> tuple[PartRow, ...]:
    others = numpy.full(len(part), dataset.item_count)
    listed = {UNMASKED: others, MASKED: others - _had_before(dataset, ranking)}
    rows = []
    for protocol, sizes in listed.items():
        for metric in METRICS:
            for cutoff in CUTOFFS:
                gains = {
                    name: gains_at(metric, (one.masked if protocol == MASKED else one.unmasked)[part], cutoff)
                    for name, one in rankings.items()
                }
                found = {name: (float(values.mean()), _standard_error(values)) for name, values in gains.items()}
                reachable = (ranking.masked[part] < MISSED) | (protocol == UNMASKED)
                found[RANDOM] = (float((by_chance(metric, sizes[part], cutoff) * reachable).mean()), 0.0)
                name = metric_name(metric, cutoff)
                rows += [PartRow(model, protocol, name, *value) for model, value in found.items()]
    return tuple(rows)


def by_chance(metric: str, sizes: Int64s, cutoff: int) -> Float64s:
    """Return what a target adds to a metric on average if lists of these ``sizes`` (T,) are in an order by lot, (T,).

    >>> by_chance("hit", numpy.array([20, 5]), 10)
    array([0.5, 1. ])
    """
    total = numpy.concatenate([[0.0], numpy.cumsum(gains_at(metric, numpy.arange(1, cutoff + 1), cutoff))])
    found: Float64s = total[numpy.minimum(sizes, cutoff)] / sizes
    return found


def _had_before(dataset: SequenceDataset, ranking: FullRanking) -> Int64s:
    """Return how many different items each target's user had before it, (T,)."""
    found = numpy.zeros_like(ranking.history_lengths)
    for block in dataset.blocks():
        part = dataset.part(block)
        users = numpy.repeat(numpy.arange(part.user_count), numpy.diff(part.offsets))
        new = numpy.concatenate([[0], numpy.cumsum(~repeats(users, part.items))])  # up to each event, of these users
        own = slice(*numpy.searchsorted(ranking.users, [block.start, block.stop]))  # of the targets
        starts = part.offsets[ranking.users[own] - block.start]
        found[own] = new[starts + ranking.history_lengths[own]] - new[starts]
    return found


def _standard_error(gains: Float64s) -> float:
    return float(gains.std(ddof=1) / len(gains) ** 0.5) if len(gains) > 1 else _ALONE

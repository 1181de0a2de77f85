"""The metrics of a ranking and of a generation, with standard errors over users, from ranks."""

import math
from collections.abc import Sequence
from typing import Any

import numpy

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.artifacts.generations import GenerationRow
from ssm4rec.artifacts.names import CUTOFFS, MASKED, METRICS, metric_name
from ssm4rec.artifacts.rankings import ALL_USERS, AMONG_CANDIDATES, RANDOM, RETRIEVER, Ranking, RankingRow
from ssm4rec.evaluation.metrics import gains_at


def ranking_rows(rankings: Sequence[Ranking], sizes: Int32s, found: int, users: int) -> list[RankingRow]:
    """Return every metric of every ranking, and of a random order, over both populations.

    The n users ranked stand for the ``found`` ones. Over all ``users`` of the split a metric is the mean over these
    times the share found / users; the variance of that product of independent estimates is
    p^2 s^2 + m^2 p (1 - p) / users.

    ``rankings`` are of the same n users, two or more; ``sizes``: how many candidates each user has, (n,).
    """
    share = found / users
    rows = []
    for metric in METRICS:
        for cutoff in CUTOFFS:
            gains = {(one.ranker, one.order): gains_at(metric, one.ranks, cutoff) for one in rankings}
            gains[RANDOM, RETRIEVER] = _expected_gains(metric, cutoff, sizes)
            for (ranker, order), values in gains.items():
                mean = float(values.mean())
                error = float(values.std(ddof=1) / math.sqrt(len(values)))
                overall = math.sqrt((share * error) ** 2 + mean**2 * share * (1 - share) / users)
                named = metric_name(metric, cutoff)
                rows.append(RankingRow(ranker, order, AMONG_CANDIDATES, named, mean, error))
                rows.append(RankingRow(ranker, order, ALL_USERS, named, share * mean, overall))
    return rows


def _expected_gains(metric: str, cutoff: int, sizes: Int32s) -> numpy.ndarray[Any, numpy.dtype[numpy.float64]]:
    """Return each user's expected gain when all orders of the candidates are equally likely, shape (n,)."""
    expected = {size: float(gains_at(metric, numpy.arange(1, size + 1), cutoff).mean()) for size in set(sizes.tolist())}
    return numpy.array([expected[size] for size in sizes.tolist()])


def generation_rows(dataset: str, model: str, seed: int | None, split: str, ranks: Int64s) -> tuple[GenerationRow, ...]:
    """Return every metric at every cutoff.

    The standard error is s / sqrt(n) with s the standard deviation of the users' gains; a single user has none.
    ``ranks``: masked ones, 1 = best, of missed targets larger than any cutoff, (n,).
    """
    rows = []
    for metric in METRICS:
        for cutoff in CUTOFFS:
            gains = gains_at(metric, ranks, cutoff)
            error = float(gains.std(ddof=1) / numpy.sqrt(len(gains))) if len(gains) > 1 else None
            name = metric_name(metric, cutoff)
            rows.append(GenerationRow(dataset, model, seed, split, MASKED, name, float(gains.mean()), error))
    return tuple(rows)

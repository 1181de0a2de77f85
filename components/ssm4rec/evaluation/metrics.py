"""HIT, NDCG and MRR at a cutoff, from ranks.

With one relevant item per user (the target, at rank r; 1 = best):

- HIT@k = 1 if r <= k else 0 (with one relevant item it equals Recall@k);
- NDCG@k = 1 / log2(r + 1) if r <= k else 0 (the ideal DCG is 1);
- MRR@k = 1 / r if r <= k else 0;

each averaged over the users.
"""

import numpy
from numpy.typing import NDArray

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.artifacts.names import CUTOFFS, METRICS, metric_name


def gains_at(metric: str, ranks: Int64s | Int32s, cutoff: int) -> NDArray[numpy.float64]:
    """Return what each user adds to a metric, (n,): its mean is the metric.

    >>> gains_at("ndcg", numpy.array([1, 3, 50]), 10)
    array([1. , 0.5, 0. ])
    """
    inside = ranks <= cutoff
    match metric:
        case "hit":
            gains = numpy.ones(len(ranks))
        case "ndcg":
            gains = 1 / numpy.log2(ranks + 1)
        case "mrr":
            gains = 1 / ranks
        case _:
            raise ValueError(f"there is no metric called {metric!r}")
    return numpy.where(inside, gains, 0.0)


def metric_at(metric: str, ranks: Int64s | Int32s, cutoff: int) -> float:
    """Return one metric's mean over users.

    >>> ranks = numpy.array([1, 3, 50])
    >>> metric_at("hit", ranks, 10) == 2 / 3
    True
    >>> metric_at("ndcg", ranks, 10) == (1 + 1 / 2) / 3
    True
    >>> metric_at("mrr", ranks, 10) == (1 + 1 / 3) / 3
    True
    """
    return float(gains_at(metric, ranks, cutoff).mean())


def all_metrics(ranks: Int64s | Int32s) -> dict[str, float]:
    """Return every metric at every cutoff by name."""
    return {metric_name(metric, cutoff): metric_at(metric, ranks, cutoff) for metric in METRICS for cutoff in CUTOFFS}

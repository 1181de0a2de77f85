"""A ranker and its retriever together: the sum of their scores, with a weight chosen on validation users.

Scores of two models have no common unit, so each is standardized over a user's candidates first:
z = (score - mean) / standard deviation.

Shapes: n users, o orders of their candidates, k places.
"""

from collections.abc import Sequence
from typing import Final

import numpy

from ssm4rec.artifacts.dataset import Int32s
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.llm.candidates import RankingTask
from ssm4rec.llm.ranking import Floats, ranks_of_target

WEIGHTS: Final = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Of the retriever; 0: the ranker alone."""


def retriever_scores(task: RankingTask, orders: Sequence[str]) -> Floats:
    """Return the retriever's scores of the candidates in these orders, (n, o, k), 0 in unused places."""
    found = numpy.zeros((len(task.users), len(orders), int(task.sizes.max())), numpy.float32)
    for column, order in enumerate(orders):
        for row, scores in enumerate(task.scores[order]):
            found[row, column, : len(scores)] = scores
    return found


def blended(scores: Floats, retrieved: Floats, sizes: Int32s, weight: float) -> Floats:
    """Return z(scores) + weight * z(retrieved), each (n, o, k); ``sizes`` (n,): how many places hold a candidate."""
    found: Floats = _standardized(scores, sizes) + numpy.float32(weight) * _standardized(retrieved, sizes)
    return found


def best_weight(scores: Floats, task: RankingTask, order: str) -> float:
    """Return the weight, the smallest of the best, by NDCG@10 of a ranker's scores (n, 1, k) in one order."""
    places, retrieved = task.places(order)[:, None], retriever_scores(task, [order])

    def ndcg(weight: float) -> float:
        ranks = ranks_of_target(blended(scores, retrieved, task.sizes, weight), task.sizes, places)
        return metric_at("ndcg", ranks[:, 0], 10)

    return max(WEIGHTS, key=ndcg)


def _standardized(scores: Floats, sizes: Int32s) -> Floats:
    used = numpy.arange(scores.shape[2]) < sizes[:, None, None]
    number = sizes[:, None, None].astype(numpy.float64)
    centred = numpy.where(used, scores - numpy.where(used, scores, 0).sum(axis=2, keepdims=True) / number, 0)
    deviation = numpy.sqrt((centred**2).sum(axis=2, keepdims=True) / number)
    found: Floats = (centred / numpy.where(deviation > 0, deviation, 1)).astype(numpy.float32)
    return found

"""Novelty, serendipity, diversity, coverage and debiased NDCG against RecTools 0.19.0.

rectools-0.19.0.json holds inputs drawn once (60 users, 40 items, repeated items, items that nobody had, short lists,
lists of one) and what RecTools says of them; its pairwise distance is a table of cosine distances. Its debiasing drops
targets by chance: ``kept_users`` and ``debiased_ndcg`` are of 20 draws, ``debiased_ndcg_mean`` is the mean of 400.
"""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.evaluation import beyond_accuracy
from ssm4rec.evaluation.beyond_accuracy import (
    TrainingUsers,
    debiasing_weights,
    diversity,
    item_distances,
    novelty,
    serendipity,
)
from ssm4rec.evaluation.metrics import gains_at
from ssm4rec.evaluation.slices import coverage, recommendation_counts

K = 10


@pytest.fixture(scope="module")
def oracle() -> dict[str, Any]:
    return json.loads((Path(__file__).parent / "rectools-0.19.0.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def training(oracle: dict[str, Any]) -> TrainingUsers:
    return TrainingUsers(_dataset(oracle["sequences"], oracle["items"]))


@pytest.fixture(scope="module")
def lists(oracle: dict[str, Any]) -> numpy.ndarray:
    return numpy.array([one + [0] * (K - len(one)) for one in oracle["lists"]])


def _dataset(sequences: list[list[int]], items: int) -> SequenceDataset:
    """Return sequences that are all for training, followed by one target each."""
    flat = numpy.array([item for one in sequences for item in (*one, 1)], dtype=numpy.int32)
    lengths = numpy.array([len(one) for one in sequences], dtype=numpy.int32)
    offsets = numpy.concatenate([[0], numpy.cumsum(lengths + 1)]).astype(numpy.int64)
    none, one = numpy.full(len(lengths), -1, dtype=numpy.int32), numpy.ones(len(lengths), dtype=numpy.int32)
    return SequenceDataset("toy", "0" * 64, items, flat, offsets, lengths, none, 0 * one, lengths, one)


def test_novelty_is_rectools(oracle: dict[str, Any], training: TrainingUsers, lists: numpy.ndarray) -> None:
    assert novelty(lists, training) == pytest.approx(numpy.array(oracle["novelty"]), abs=1e-12)


@pytest.mark.parametrize("targets", ["one_target", "several_targets"])
def test_serendipity_is_rectools(
    oracle: dict[str, Any], training: TrainingUsers, lists: numpy.ndarray, targets: str
) -> None:
    relevant = numpy.array([numpy.isin(row, had) for row, had in zip(lists, oracle[targets], strict=True)])
    found = serendipity(lists, relevant, training)
    assert found.any()
    assert found == pytest.approx(numpy.array(oracle[f"serendipity_{targets}"]), abs=1e-12)


@pytest.mark.parametrize("cells", [None, 40])
def test_diversity_is_rectools(
    oracle: dict[str, Any],
    training: TrainingUsers,
    lists: numpy.ndarray,
    cells: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same in one part and in many."""
    if cells:
        monkeypatch.setattr(beyond_accuracy, "_PAIR_CELLS", cells)
    assert diversity(lists, training) == pytest.approx(numpy.array(oracle["diversity"]), abs=1e-12)


def test_coverage_is_rectools(oracle: dict[str, Any], lists: numpy.ndarray) -> None:
    assert coverage(recommendation_counts(lists, oracle["items"])) == pytest.approx(oracle["coverage"], abs=1e-12)


def test_distances_by_hand() -> None:
    """Item 1 was had by users 0 and 1, item 2 by 1 and 2, item 3 by 1 alone, item 4 by nobody."""
    training = TrainingUsers(_dataset([[1, 1], [1, 2, 3], [2]], 4))
    pairs = numpy.array([(1, 1), (1, 2), (1, 3), (1, 4)]).T
    assert item_distances(*pairs, training) == pytest.approx([0, 1 / 2, 1 - 1 / numpy.sqrt(2), 1])


def test_a_list_without_items_and_one_without_pairs() -> None:
    training = TrainingUsers(_dataset([[1, 2], [2]], 3))
    lists = numpy.array([[0, 0], [1, 0]])
    assert novelty(lists, training).tolist() == [0, 1]
    assert diversity(lists, training).tolist() == [0, 0]
    assert diversity(lists[:, :1], training).tolist() == [0, 0]


def _gains_and_weights(oracle: dict[str, Any]) -> tuple[numpy.ndarray, numpy.ndarray]:
    targets = numpy.array([had[0] for had in oracle["one_target"]])
    ranks = [one.index(item) + 1 if item in one else K + 1 for one, item in zip(oracle["lists"], targets, strict=True)]
    return gains_at("ndcg", numpy.array(ranks), K), debiasing_weights(targets)


def test_debiased_ndcg_is_what_rectools_gives_on_average(oracle: dict[str, Any]) -> None:
    gains, weights = _gains_and_weights(oracle)
    assert gains.mean() == pytest.approx(oracle["ndcg"], abs=1e-12)
    for kept, value in zip(oracle["kept_users"], oracle["debiased_ndcg"], strict=True):
        assert gains[kept].mean() == pytest.approx(value, abs=1e-12)  # a draw of theirs, by our gains
        assert weights.sum() == pytest.approx(len(kept))
    ours = (gains * weights).sum() / weights.sum()
    assert abs(ours - gains.mean()) > 0.01  # the cap matters here
    assert abs(ours - oracle["debiased_ndcg_mean"]) < 3 * oracle["debiased_ndcg_error"]


def test_each_items_weights_sum_to_what_rectools_keeps(oracle: dict[str, Any]) -> None:
    targets = numpy.array([had[0] for had in oracle["one_target"]])
    weights = debiasing_weights(targets)
    sums = {str(item): weights[targets == item].sum() for item in numpy.unique(targets)}
    assert sums == pytest.approx(oracle["kept_of_items"])

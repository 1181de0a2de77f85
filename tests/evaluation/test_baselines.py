"""The baselines against plain loops over histories and training items, with repeats, ties and short histories."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.names import BASELINES, TIME_BASELINES
from ssm4rec.artifacts.ranks import MISSED
from ssm4rec.evaluation.baselines import (
    MARKOV_WEIGHTS,
    baseline_rankings,
    baseline_scorers,
    markov_scorer,
    most_frequent_scorer,
    most_popular_lately_scorer,
    most_popular_scorer,
    most_recent_scorer,
)
from ssm4rec.evaluation.full_ranking import Scorer, full_ranking
from ssm4rec.evaluation.metrics import metric_at

CPU = torch.device("cpu")


@pytest.fixture
def dataset(write_dataset: Any) -> SequenceDataset:
    """Sequences in which users return to items, of 1 to 20 items before the target, and an item nobody trains on."""
    generator = numpy.random.default_rng(5)
    sequences = [(1 + generator.geometric(0.15, size=length).clip(max=20)).tolist() for length in range(3, 23)] * 2
    return read_sequences(write_dataset([[1, 2, 1, 2, 3], [4, 1], *sequences, [5, 6, 25]]))


def training(dataset: SequenceDataset) -> list[list[int]]:
    starts = dataset.offsets[:-1]
    return [
        dataset.items[start : start + length].tolist()
        for start, length in zip(starts, dataset.train_length, strict=True)
    ]


def popularity(dataset: SequenceDataset) -> Counter[int]:
    return Counter(item for items in training(dataset) for item in items)


def most_popular(dataset: SequenceDataset, history: list[int], item: int) -> Any:
    return popularity(dataset)[item]


def most_recent(dataset: SequenceDataset, history: list[int], item: int) -> Any:
    last = max((place for place, had in enumerate(history, start=1) if had == item), default=0)
    return last, 0 if last else popularity(dataset)[item]


def most_frequent(dataset: SequenceDataset, history: list[int], item: int) -> Any:
    return history.count(item), *most_recent(dataset, history, item)


def markov(dataset: SequenceDataset, history: list[int], item: int) -> Any:
    score = 0.0
    for lag, weight in enumerate(MARKOV_WEIGHTS, start=1):
        if len(history) < lag:
            continue
        after = [
            items[place + lag]
            for items in training(dataset)
            for place in range(len(items) - lag)
            if items[place] == history[-lag]
        ]
        score += weight * after.count(item) / len(after) if after else 0.0
    return round(score, 9), popularity(dataset)[item]


LOOPS = dict(zip(BASELINES, (most_popular, most_recent, most_frequent, markov), strict=True))


def expected_ranks(dataset: SequenceDataset, name: str, user: int, position: int) -> tuple[int, int]:
    """Return the unmasked and the masked rank of a user's target, by sorting what the plain loop says of each item."""
    own = dataset.items[dataset.offsets[user] :][: position + 1].tolist()
    history, target = own[:-1], own[-1]
    keys = {item: LOOPS[name](dataset, history, item) for item in range(1, dataset.item_count + 1)}
    at_least = [item for item, key in keys.items() if key >= keys[target]]
    return len(at_least), MISSED if target in history else sum(item not in history for item in at_least)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_ranks_equal_plain_loops(dataset: SequenceDataset, split: Any) -> None:
    rankings = baseline_rankings(baseline_scorers(dataset, CPU), dataset, split, CPU)
    assert list(rankings) == list(BASELINES)
    for name, ranking in rankings.items():
        found = list(zip(ranking.unmasked.tolist(), ranking.masked.tolist(), strict=True))
        positions = dataset.position(split)
        assert found == [expected_ranks(dataset, name, user, int(positions[user])) for user in ranking.users], name


def test_without_the_history_most_recent_and_most_frequent_are_most_popular(dataset: SequenceDataset) -> None:
    """So their lists of new items need not be kept."""
    popular, *others = (
        full_ranking(make(dataset, CPU), dataset, "test", 3, CPU, 10)
        for make in (most_popular_scorer, most_recent_scorer, most_frequent_scorer)
    )
    present = numpy.isfinite(popular.candidate_scores)
    for other in others:
        assert (other.candidates[present] == popular.candidates[present]).all()
        assert (other.masked == popular.masked).all()


def scores_of(scorer: Scorer, histories: list[list[int]], item_count: int) -> list[list[float]]:
    """Return a batch's scores."""
    lengths = [len(history) for history in histories]
    padded = [history + [0] * (max(lengths) - len(history)) for history in histories]
    seen = [row * item_count + item - 1 for row, history in enumerate(histories) for item in history]
    scores: list[list[float]] = scorer(torch.tensor(padded), torch.tensor(lengths), torch.tensor(seen)).tolist()
    return scores


def in_order(scores: list[float]) -> list[int]:
    """Return the items, best first."""
    return sorted(range(1, len(scores) + 1), key=lambda item: -scores[item - 1])


def test_most_popular_counts_training_items_only(write_dataset: Any) -> None:
    toy = read_sequences(write_dataset([[1, 1, 2, 3, 3], [1, 2, 3, 3], [4, 3, 3]]))
    assert toy.training_counts().tolist() == [0, 3, 2, 0, 1]
    assert scores_of(most_popular_scorer(toy, CPU), [[3], [4]], 4) == [[3, 2, 0, 1], [3, 2, 0, 1]]


def test_histories_first_then_popularity(write_dataset: Any) -> None:
    toy = read_sequences(write_dataset([[2, 2, 2, 1, 1, 4, 3, 5], [3, 5]]))  # in training: 2, 2, 2, 1, 1, 4 and 3
    histories = [[5, 3, 3, 5, 4], [4]]
    recent, frequent = (make(toy, CPU) for make in (most_recent_scorer, most_frequent_scorer))
    assert [in_order(row) for row in scores_of(recent, histories, 5)] == [[4, 5, 3, 2, 1], [4, 2, 1, 3, 5]]
    assert [in_order(row) for row in scores_of(frequent, histories, 5)] == [[5, 3, 4, 2, 1], [4, 2, 1, 3, 5]]


def test_markov_weighs_lags_and_falls_back_to_popularity(write_dataset: Any) -> None:
    toy = read_sequences(write_dataset([[1, 2, 3, 9, 9], [1, 4, 3, 9, 9], [5, 5, 6, 9, 9], [7, 8, 9, 9]]))
    # After 1: half the time 2, half the time 4; two places after it: always 3.
    (row,) = scores_of(markov_scorer(toy, CPU, (1.0, 0.4)), [[1]], 9)
    assert row[1] == row[3] == pytest.approx(0.5)
    assert in_order(row)[2:4] == [1, 3], "no transition: most popular first, 1, 3 and 5 twice each"
    assert 0 < row[0] < 1e-9
    (row,) = scores_of(markov_scorer(toy, CPU, (1.0, 0.4)), [[1, 5]], 9)
    assert [row[item - 1] for item in (5, 6, 3)] == pytest.approx([0.5, 0.5, 0.4])
    assert row[4] > row[5], "equal shares: the more popular one first"


def test_a_markov_chain_knows_the_way_round_a_circle(write_dataset: Any) -> None:
    """Only training transitions are counted, so an order that none of them shows cannot be known."""
    walks = [[(start + step) % 40 + 1 for step in range(5 + start % 7)] for start in range(80)]
    circle = read_sequences(write_dataset(walks))
    found = baseline_rankings(baseline_scorers(circle, CPU), circle, "test", CPU)["markov"]
    assert metric_at("hit", found.unmasked, 1) == 1
    untrained = replace(circle, train_length=numpy.ones_like(circle.train_length))
    blind = full_ranking(markov_scorer(untrained, CPU), untrained, "test", 3, CPU)
    popular = full_ranking(most_popular_scorer(untrained, CPU), untrained, "test", 3, CPU)
    assert blind.unmasked.tolist() == popular.unmasked.tolist()


def test_the_most_popular_of_the_last_days_counts_training_events_only(write_dataset: "object") -> None:
    """Users of five items, the last two of which are targets; times in days before the last training event."""
    dataset = read_sequences(write_dataset([[1, 2, 3, 9, 9], [1, 3, 4, 9, 9], [1, 3, 5, 9, 9]]))
    days = [[-30, -7, -6, 1, 2], [-30, -8, 0, 1, 2], [-30, -20, -2, 1, 2]]
    times = (1e12 + 86_400_000 * numpy.array(days).ravel()).astype(numpy.int64)
    scores = most_popular_lately_scorer(dataset, CPU, times)(torch.zeros(2, 1), torch.ones(2), torch.zeros(0))
    assert scores.shape == (2, 9)
    assert torch.equal(scores[0], scores[1])
    # In the last seven days: 3, 4 and 5 once each; 2 was a moment too early. Ties by all training: 3 thrice, 1 thrice.
    assert scores[0].floor().tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert scores[0].argsort(descending=True, stable=True)[:4].tolist() == [2, 3, 4, 0]
    rankings = baseline_rankings(baseline_scorers(dataset, CPU, times), dataset, "test", CPU)
    assert list(rankings) == list(TIME_BASELINES)


def test_the_most_popular_of_the_last_days_before_1970(write_dataset: Any) -> None:
    """Times before 1970 are negative numbers: 4, 5 and 6 are of the last week, 1 and 2 of a month before."""
    dataset = read_sequences(write_dataset([[1, 2, 4, 3, 3], [1, 2, 5, 3, 3], [1, 2, 6, 3, 3]]))
    days = numpy.array([[-30, -30, 0, 1, 2]] * 3).ravel()
    times = (-1e11 + 86_400_000 * days).astype(numpy.int64)
    scores = most_popular_lately_scorer(dataset, CPU, times)(torch.zeros(1, 1), torch.ones(1), torch.zeros(0))
    assert scores[0].floor().tolist() == [0, 0, 0, 1, 1, 1]

"""Full ranking against a naive loop and an independent implementation from PyPI, with ties."""

import ir_measures
import numpy
import pytest
import torch
from torch import Tensor

from ssm4rec.data.dataset import SequenceDataset, read_sequences
from ssm4rec.errors import InputError
from ssm4rec.evaluation.full_ranking import Scorer, full_ranking, most_popular_scorer
from ssm4rec.evaluation.metrics import all_metrics

CPU = torch.device("cpu")


@pytest.fixture
def dataset(write_dataset: "object") -> SequenceDataset:
    """Sequences in which users return to items, targets included."""
    generator = numpy.random.default_rng(11)
    lengths = generator.integers(3, 40, size=60)
    return read_sequences(write_dataset([generator.integers(1, 31, size=length).tolist() for length in lengths]))


def tied_scores(user_count: int, item_count: int) -> Tensor:
    """Random scores of five values only."""
    return torch.randint(0, 5, (user_count, item_count), generator=torch.Generator().manual_seed(2)).float()


def by_history_length(dataset: SequenceDataset, scores: Tensor) -> Scorer:
    """Give each user their row of ``scores``: users are told apart by their whole history."""
    rows = {
        tuple(dataset.items[start : start + position].tolist()): user
        for user, (start, position) in enumerate(zip(dataset.offsets, dataset.test_position, strict=False))
    }

    def score(items: Tensor, lengths: Tensor) -> Tensor:
        return scores[[rows[tuple(row[:length].tolist())] for row, length in zip(items, lengths, strict=True)]]

    return score


def naive_rank(scores: list[float], target: int, removed: set[int]) -> int:
    own = scores[target - 1]
    rivals = [score for item, score in enumerate(scores, start=1) if item != target and item not in removed]
    return 1 + sum(score > own for score in rivals) + sum(score == own for score in rivals)


def test_ranks_equal_the_definition(dataset: SequenceDataset) -> None:
    scores = tied_scores(dataset.user_count, dataset.item_count)
    ranking = full_ranking(by_history_length(dataset, scores), dataset, "test", 100, CPU, candidate_count=4)
    assert ranking.users.tolist() == list(range(dataset.user_count))
    for user in range(dataset.user_count):
        start, position = dataset.offsets[user], dataset.test_position[user]
        target, history = int(dataset.items[start + position]), set(dataset.items[start : start + position].tolist())
        own = scores[user].tolist()
        assert ranking.targets[user] == target
        assert ranking.history_lengths[user] == position
        assert ranking.unmasked[user] == naive_rank(own, target, set())
        assert ranking.masked[user] == naive_rank(own, target, history - {target})
        unseen = sorted((own[item - 1] for item in range(1, 31) if item not in history), reverse=True)
        assert ranking.candidate_scores[user].tolist() == (unseen + [-torch.inf] * 4)[:4]
        kept = ranking.candidates[user][ranking.candidate_scores[user] > -1].tolist()
        assert not history & set(kept)
        assert [own[item - 1] for item in kept] == unseen[:4]


def test_metrics_equal_ir_measures(dataset: SequenceDataset) -> None:
    """The other implementation breaks ties its own way, so it is shown scores whose ties are broken against us."""
    scores = tied_scores(dataset.user_count, dataset.item_count)
    ranking = full_ranking(by_history_length(dataset, scores), dataset, "test", 100, CPU)
    run, relevant = [], []
    for user in range(dataset.user_count):
        target = int(ranking.targets[user])
        for item in range(1, dataset.item_count + 1):
            score = scores[user, item - 1].item() - (0.5 if item == target else 0)
            run.append(ir_measures.ScoredDoc(str(user), str(item), score + item * 1e-4))
        relevant.append(ir_measures.Qrel(str(user), str(target), 1))
    names = {"hit": ir_measures.Success, "ndcg": ir_measures.nDCG, "mrr": ir_measures.RR}
    measures = {f"{name}@{cutoff}": measure @ cutoff for name, measure in names.items() for cutoff in (5, 10, 20)}
    theirs = ir_measures.calc_aggregate(list(measures.values()), relevant, run)
    ours = all_metrics(ranking.unmasked)
    assert ours.keys() == measures.keys()
    for name, measure in measures.items():
        assert ours[name] == pytest.approx(theirs[measure], abs=1e-12), name


def test_constant_model_ranks_last(dataset: SequenceDataset) -> None:
    ranking = full_ranking(lambda items, lengths: torch.zeros(len(items), dataset.item_count), dataset, "test", 9, CPU)
    assert set(ranking.unmasked.tolist()) == {dataset.item_count}
    assert all_metrics(ranking.unmasked)["hit@20"] == 0


def test_scores_that_are_no_numbers_are_an_error(dataset: SequenceDataset) -> None:
    def score(items: Tensor, lengths: Tensor) -> Tensor:
        return torch.full((len(items), dataset.item_count), torch.nan)

    with pytest.raises(InputError, match="scores are NaN or infinite"):
        full_ranking(score, dataset, "test", 9, CPU)


def test_model_sees_the_last_items_only(dataset: SequenceDataset) -> None:
    seen = []

    def score(items: Tensor, lengths: Tensor) -> Tensor:
        seen.extend(row[:length].tolist() for row, length in zip(items, lengths, strict=True))
        return torch.zeros(len(items), dataset.item_count)

    full_ranking(score, dataset, "validation", 5, CPU)
    expected = [
        dataset.items[start : start + position][-5:].tolist()
        for start, position in zip(dataset.offsets, dataset.validation_position, strict=False)
    ]
    assert sorted(seen) == sorted(expected)


def test_most_popular_counts_training_items_only(write_dataset: "object") -> None:
    toy = read_sequences(write_dataset([[1, 1, 2, 3, 3], [1, 2, 3, 3], [4, 3, 3]]))
    assert toy.training_counts().tolist() == [0, 3, 2, 1 - 1, 1]
    scores = most_popular_scorer(toy, CPU)(torch.zeros(2, 1, dtype=torch.long), torch.ones(2, dtype=torch.long))
    assert scores.tolist() == [[3, 2, 0, 1], [3, 2, 0, 1]]


def test_empty_split_is_an_error(write_dataset: "object") -> None:
    with pytest.raises(InputError, match="no user has a test target"):
        full_ranking(lambda items, lengths: items, read_sequences(write_dataset([[1, 2], [2, 1]])), "test", 9, CPU)


def test_memory_is_bounded_at_a_large_catalog(write_dataset: "object") -> None:
    """At 211,000 items no batch of scores may exceed 2**25 cells."""
    folder = write_dataset([[1, 2, 3, 211_000]] * 400)
    toy = read_sequences(folder)
    rows = []

    def score(items: Tensor, lengths: Tensor) -> Tensor:
        rows.append(len(items))
        return torch.zeros(1, 1).expand(len(items), toy.item_count)

    full_ranking(score, toy, "test", 9, CPU)
    assert sum(rows) == 400
    assert max(rows) * toy.item_count <= 2**25

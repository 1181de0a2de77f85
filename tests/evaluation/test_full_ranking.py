"""Full ranking against a naive loop and an independent implementation from PyPI, with ties."""

import ir_measures
import numpy
import pytest
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.ranks import MISSED
from ssm4rec.evaluation.full_ranking import (
    Scorer,
    ScoresNotNumbersError,
    best_items,
    full_ranking,
)
from ssm4rec.evaluation.metrics import all_metrics
from ssm4rec.runtime.errors import InputError

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
    """Give each user their row of ``scores``: users differ in their whole history."""
    rows = {
        tuple(dataset.items[start : start + position].tolist()): user
        for user, (start, position) in enumerate(zip(dataset.offsets, dataset.test_position, strict=False))
    }

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:
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
        assert ranking.masked[user] == (MISSED if target in history else naive_rank(own, target, history))
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
    ranking = full_ranking(lambda items, *_: torch.zeros(len(items), dataset.item_count), dataset, "test", 9, CPU)
    assert set(ranking.unmasked.tolist()) == {dataset.item_count}
    assert all_metrics(ranking.unmasked)["hit@20"] == 0


@pytest.fixture
def large_catalog(write_dataset: "object") -> SequenceDataset:
    """Users of 20,000 items: a batch of the short histories is ranked in three parts; in the long ones items return."""
    generator = numpy.random.default_rng(5)
    lengths = [*generator.integers(4, 50, size=70), *generator.integers(300, 900, size=10)]
    sequences = [generator.integers(1, 300, size=length).tolist() for length in lengths]
    return read_sequences(write_dataset([*sequences, [1, 2, 20_000]]))


def plain_ranking(dataset: SequenceDataset, scores: Tensor, candidate_count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rank row by row with nothing but comparisons and ``topk``: unmasked and masked ranks, and the best scores."""
    unmasked, masked, best = [], [], []
    for own, start, position in zip(scores, dataset.offsets, dataset.test_position, strict=False):
        history = torch.from_numpy(dataset.items[start : start + position].astype(numpy.int64)) - 1
        target = int(dataset.items[start + position]) - 1
        not_lower = own >= own[target]
        unmasked.append(not_lower.sum())
        not_lower[history] = False
        masked.append(not_lower.sum() if not_lower[target] else torch.tensor(MISSED))
        unseen = own.clone()
        unseen[history] = -torch.inf
        best.append(unseen.topk(candidate_count).values)
    return torch.stack(unmasked), torch.stack(masked), torch.stack(best)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("tied", [False, True])
def test_ranking_in_parts_equals_the_plain_form(
    large_catalog: SequenceDataset, dtype: torch.dtype, *, tied: bool
) -> None:
    """Whatever the type of the scores, counts are exact; and the scorer's own tensor is left as it was."""
    shape = (large_catalog.user_count, large_catalog.item_count)
    drawn = tied_scores(*shape) if tied else torch.randn(shape, generator=torch.Generator().manual_seed(3))
    scores = drawn.to(dtype)
    given = []

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:
        rows = by_history_length(large_catalog, scores)(items, lengths, seen)
        given.append((rows, rows.clone()))
        return rows

    ranking = full_ranking(score, large_catalog, "test", 900, CPU, candidate_count=20)
    unmasked, masked, best = plain_ranking(large_catalog, scores, 20)
    assert ranking.unmasked.tolist() == unmasked.tolist()
    assert ranking.masked.tolist() == masked.tolist()
    assert numpy.array_equal(ranking.candidate_scores, best.float())
    own = scores.float().numpy()[numpy.arange(shape[0])[:, None], ranking.candidates - 1]
    assert numpy.array_equal(ranking.candidate_scores, own)
    assert all(torch.equal(rows, before) for rows, before in given)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_ranking_on_a_gpu_equals_the_plain_form(large_catalog: SequenceDataset) -> None:
    scores = tied_scores(large_catalog.user_count, large_catalog.item_count)
    rows = by_history_length(large_catalog, scores)
    cuda = torch.device("cuda")
    ranking = full_ranking(
        lambda items, lengths, _: rows(items.cpu(), lengths.cpu(), items).to(cuda), large_catalog, "test", 900, cuda, 20
    )
    unmasked, masked, best = plain_ranking(large_catalog, scores, 20)
    assert ranking.unmasked.tolist() == unmasked.tolist()
    assert ranking.masked.tolist() == masked.tolist()
    assert numpy.array_equal(ranking.candidate_scores, best)


@pytest.mark.parametrize(
    ("item_count", "count"), [(3416, 20), (1000, 20), (163, 20), (160, 20), (159, 20), (20, 20), (3, 2), (1, 1)]
)
@pytest.mark.parametrize("removed", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("tied", [False, True])
def test_best_items_equal_topk(item_count: int, count: int, removed: float, *, tied: bool) -> None:
    """Over catalogs that the groups do and do not divide, with ties, and with too few items left in some rows."""
    generator = torch.Generator().manual_seed(item_count)
    drawn = tied_scores(9, item_count) if tied else torch.randn(9, item_count, generator=generator)
    gone = torch.rand(9, item_count, generator=generator) < removed
    gone[0] = False  # one row keeps everything
    scores = drawn.masked_fill(gone, -torch.inf)
    values, items = best_items(scores, count)
    assert torch.equal(values, scores.topk(count).values)
    assert torch.equal(scores.gather(1, items - 1), values)
    assert all(len(set(row)) == count for row in items.tolist())
    assert torch.equal(best_items(scores, count)[1], items)


@pytest.mark.parametrize("wrong", [[torch.nan], [torch.inf], [-torch.inf], [torch.inf, -torch.inf]])
def test_scores_that_are_no_numbers_are_an_error(large_catalog: SequenceDataset, wrong: list[float]) -> None:
    """A single one is, in the last place too."""

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:
        scores = torch.zeros(len(items), large_catalog.item_count)
        scores[-1, -len(wrong) :] = torch.tensor(wrong)
        return scores

    with pytest.raises(ScoresNotNumbersError, match="scores are NaN or infinite"):
        full_ranking(score, large_catalog, "test", 9, CPU)


def test_model_sees_the_last_items_only(dataset: SequenceDataset) -> None:
    read = []

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:
        read.extend(row[:length].tolist() for row, length in zip(items, lengths, strict=True))
        return torch.zeros(len(items), dataset.item_count)

    full_ranking(score, dataset, "validation", 5, CPU)
    expected = [
        dataset.items[start : start + position][-5:].tolist()
        for start, position in zip(dataset.offsets, dataset.validation_position, strict=False)
    ]
    assert sorted(read) == sorted(expected)


def test_empty_split_is_an_error(write_dataset: "object") -> None:
    with pytest.raises(InputError, match="no user has a test target"):
        full_ranking(lambda items, *_: items, read_sequences(write_dataset([[1, 2], [2, 1]])), "test", 9, CPU)


def test_memory_is_bounded_at_a_large_catalog(write_dataset: "object") -> None:
    """At 211,000 items no batch of scores may exceed 2**25 cells."""
    folder = write_dataset([[1, 2, 3, 211_000]] * 400)
    toy = read_sequences(folder)
    rows = []

    def score(items: Tensor, lengths: Tensor, seen: Tensor) -> Tensor:
        rows.append(len(items))
        return torch.zeros(1, 1).expand(len(items), toy.item_count)

    full_ranking(score, toy, "test", 9, CPU)
    assert sum(rows) == 400
    assert max(rows) * toy.item_count <= 2**25

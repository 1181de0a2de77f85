"""An evaluation by shards of users against that of all users at once: everything is equal, for every model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import SequenceDataset, Split, read_sequences
from ssm4rec.artifacts.names import BASELINES, TIME_BASELINES
from ssm4rec.artifacts.ranks import FullRanking
from ssm4rec.evaluation import sharding
from ssm4rec.evaluation.baselines import baseline_scorers
from ssm4rec.evaluation.full_ranking import Scorer, ScoresNotNumbersError
from ssm4rec.evaluation.sharding import Shard, evaluated, shards
from ssm4rec.models.recommender import Recommender
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.ray_workers import in_parts
from tests.conftest import WriteDataset
from tests.datasets import write_dataset_folder, write_events

CPU = torch.device("cpu")
SIZE = 16  # targets of a shard here


def cpu() -> torch.device:
    return CPU


def leave_one_out(folder: Path) -> SequenceDataset:
    """Users of 1 to 39 items; those of fewer than 3 are in no split, all of the last 20 for example."""
    random = numpy.random.default_rng(11)
    lengths = [1, 2, *random.integers(1, 40, size=90), *random.integers(1, 3, size=20)]
    sequences = [random.integers(1, 31, size=length).tolist() for length in lengths]
    return read_sequences(write_dataset_folder(folder, [*sequences[:40], [3, 4, 5, 31, 32], *sequences[40:]]))


def successive(folder: Path) -> SequenceDataset:
    """Users with none, one or many targets, one of them with more than a shard's; the last items come late."""
    random = numpy.random.default_rng(3)
    events = [
        (f"u{user}", int(random.integers(1, 31 + 3 * (time > 8_500))), int(time))
        for user, length in enumerate(random.integers(1, 61, 50))
        for time in random.choice(10_000, length, replace=False)
    ]
    busy = [(f"busy{user}", int(random.integers(1, 31)), 7_000 + 20 * step) for user in range(2) for step in range(150)]
    return write_events(folder, [*events, *busy])


@pytest.fixture(scope="module", params=[leave_one_out, successive])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    found: SequenceDataset = request.param(tmp_path_factory.mktemp("data") / "dataset")
    return found


def model_of(name: str, item_count: int) -> Recommender:
    """In float64: batches that are put together in another way leave the ranks, and scores in float32, as they are."""
    torch.manual_seed(0)
    model = recipe(name, "smoke", "long", "model.max_length=20,model.repeat_term=true").model.build(item_count)
    return model.double().eval()


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Done by this process, the last first: Ray hands them over in any order."""

    def last_first(do: Callable[[Shard], Any], parts: Sequence[Shard], *_: object) -> Iterator[tuple[Shard, Any]]:
        return in_parts(do, parts[::-1], 1, "cpu")

    monkeypatch.setattr(sharding, "_TARGETS", SIZE)
    monkeypatch.setattr(sharding, "in_parts", last_first)


def differing(found: FullRanking, expected: FullRanking) -> list[str]:
    pairs = {one.name: (getattr(found, one.name), getattr(expected, one.name)) for one in fields(FullRanking)}
    return [
        name for name, (one, other) in pairs.items() if one.dtype != other.dtype or not numpy.array_equal(one, other)
    ]


def same_but_for_ties(dataset: SequenceDataset, scorer: Scorer, found: FullRanking, expected: FullRanking) -> None:
    """Many items are as popular as others: which of them is at which place of a list may differ, their scores not."""
    assert {*differing(found, expected)} <= {"candidates", "unmasked_candidates"}
    if not expected.candidates.shape[1]:
        return
    places = expected.history_lengths[expected.first]
    for row, (user, place) in enumerate(zip(expected.users[expected.first], places, strict=True)):
        history = torch.from_numpy(dataset.items[dataset.offsets[user] :][:place].astype(numpy.int64))
        recent = history[-3:]
        scores = scorer(recent[None], torch.tensor([len(recent)]), history - 1)[0].float().numpy()
        new = numpy.isfinite(expected.candidate_scores[row])
        listed = found.candidates[row][new]
        assert scores[listed - 1].tolist() == expected.candidate_scores[row][new].tolist()
        assert not {*listed.tolist()} & {*history.tolist()}
        whole = found.unmasked_candidates[row]
        assert scores[whole - 1].tolist() == scores[expected.unmasked_candidates[row] - 1].tolist()
        assert len({*listed.tolist()}) == len(listed)
        assert len({*whole.tolist()}) == len(whole)


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.usefixtures("small_shards")
def test_shards_together_are_the_whole(dataset: SequenceDataset, name: str, split: Split) -> None:
    model = model_of(name, dataset.item_count)
    many = dataset.target_counts(split).max() > 1
    times = numpy.arange(len(dataset.items)) * 3_600_000 if many else None
    assert (dataset.training_counts()[1:] == 0).any(), "a cold item"
    whole = evaluated(model, dataset, split, cpu, times, 1)
    found = evaluated(model, dataset, split, cpu, times, 2)
    assert whole.shards == 1
    assert found.shards == len(shards(dataset, split)) > 4
    assert differing(found.ranking, whole.ranking) == []
    assert list(found.baselines) == list(whole.baselines) == list(TIME_BASELINES if many else BASELINES)
    scorers = baseline_scorers(dataset, CPU, times)
    for baseline, expected in whole.baselines.items():
        same_but_for_ties(dataset, scorers[baseline], found.baselines[baseline], expected)
    assert found.losses == pytest.approx(whole.losses, rel=1e-12)


@pytest.mark.parametrize("split", ["validation", "test"])
@pytest.mark.usefixtures("small_shards")
def test_shards_have_every_target_once_and_not_too_many(dataset: SequenceDataset, split: Split) -> None:
    counts = dataset.target_counts(split)
    found = shards(dataset, split)
    users, _ = dataset.targets(split)
    assert numpy.concatenate([users[shard.targets] for shard in found]).tolist() == users.tolist()
    listed = numpy.unique(users)
    assert numpy.concatenate([listed[shard.lists] for shard in found]).tolist() == listed.tolist()
    for shard in found:
        own = counts[shard.users]
        assert own.sum() == shard.targets.stop - shard.targets.start
        assert 0 < own.sum() <= SIZE or len(own) == 1
    larger = [shard for shard in found if shard.targets.stop - shard.targets.start > SIZE]
    assert bool(larger) == (counts.max() > SIZE)


def test_shards_of_a_large_split_are_not_more_than_some_thousand(dataset: SequenceDataset) -> None:
    many = replace(dataset, test_targets=numpy.full(3_000_000, 3, numpy.int32))
    found = shards(many, "test")
    assert 1024 <= len(found) <= 2048
    assert (found[0].targets, found[-1].targets.stop) == (slice(0, 8787), 9_000_000)


@pytest.mark.usefixtures("small_shards")
def test_users_without_targets_are_no_shard_of_their_own(dataset: SequenceDataset) -> None:
    """They may follow a user who is a shard alone; and nobody at all may be in a split."""
    counts = numpy.array([0, SIZE + 1, 0, 0], dtype=numpy.int32)
    few = replace(dataset, test_targets=counts)
    assert shards(few, "test") == [Shard(slice(1, 2), slice(0, SIZE + 1), slice(0, 1))]
    assert shards(replace(dataset, test_targets=counts * 0), "test") == []


def test_only_the_whole_may_have_no_target(write_dataset: WriteDataset) -> None:
    nobody = read_sequences(write_dataset([[1, 2], [2, 1]]))
    with pytest.raises(InputError, match="data set toy: no user has a test target"):
        evaluated(model_of("sasrec", 2), nobody, "test", cpu, None, 2)


@pytest.mark.usefixtures("small_shards")
def test_scores_of_a_shard_that_are_no_numbers_are_an_error(dataset: SequenceDataset) -> None:
    model = model_of("sasrec", dataset.item_count)
    with torch.no_grad():
        model.item_embedding.weight[5] = torch.inf
    with pytest.raises(ScoresNotNumbersError, match="scores are NaN or infinite"):
        evaluated(model, dataset, "test", cpu, None, 2)

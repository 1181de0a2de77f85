"""Windows over targets that follow one another: each target is predicted from what the rule says, in one pass too."""

from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.ranks import MISSED
from ssm4rec.evaluation import full_ranking as full_ranking_module
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.evaluation.target_windows import target_windows
from ssm4rec.models.recommender import cells_of
from ssm4rec.recipes.recommenders import recipe
from tests.datasets import write_events

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=["successive", "last"])
def dataset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SequenceDataset:
    """Users of 1 to 60 items, most with several targets after each cut."""
    random = numpy.random.default_rng(3)
    events = [
        (f"u{user}", int(random.integers(1, 31)), int(time))
        for user, length in enumerate(random.integers(1, 61, 50))
        for time in random.choice(10_000, length, replace=False)
    ]
    return write_events(tmp_path_factory.mktemp("data") / "dataset", events, time_target=request.param)


@pytest.mark.parametrize("max_length", [1, 2, 7, 20, 100])
@pytest.mark.parametrize("split", ["validation", "test"])
def test_every_target_is_read_from_enough_and_not_too_much(
    dataset: SequenceDataset, split: Any, max_length: int
) -> None:
    laid = target_windows(dataset, split, max_length, shared=True)
    alone = target_windows(dataset, split, max_length, shared=False)
    users, places = dataset.targets(split)
    assert laid.users.tolist() == alone.users.tolist() == users.tolist()
    assert laid.places.tolist() == alone.places.tolist() == places.tolist()
    assert (laid.read == alone.read).all()
    assert (laid.starts[laid.windows] == alone.starts[alone.windows]).all(), "one context, shared or not"
    assert (alone.lengths == alone.read).all()
    assert (numpy.diff(laid.windows) >= 0).all()
    assert laid.windows[-1] == len(laid.starts) - 1
    assert (laid.starts[laid.windows] + laid.read == dataset.offsets[users] + places).all(), "it ends at the target"
    assert (laid.starts[laid.windows] >= dataset.offsets[users]).all(), "it is the user's own"
    assert (laid.read <= max_length).all()
    assert (laid.read >= numpy.minimum(places, (max_length + 1) // 2)).all()
    assert (laid.read[places <= max_length] == places[places <= max_length]).all(), "whole where it fits"
    opens = numpy.flatnonzero(numpy.diff(laid.windows, prepend=-1))
    assert (laid.lengths == numpy.maximum.reduceat(laid.read, opens)).all()
    single = numpy.bincount(users)[users] == 1
    assert (laid.read[single] == numpy.minimum(places[single], max_length)).all(), "alone: the last L items"


def test_windows_are_few(dataset: SequenceDataset) -> None:
    """A user with t targets needs 2 + 2 t / L windows at most."""
    laid = target_windows(dataset, "test", 20, shared=True)
    owner = laid.users[numpy.flatnonzero(numpy.diff(laid.windows, prepend=-1))]
    assert (numpy.bincount(owner) <= 2 + dataset.test_targets[: owner.max() + 1] / 10).all()


@pytest.mark.parametrize("name", ["sasrec", "mamba4rec", "2mamba4rec", "lrurec", "hydra4rec"])
@pytest.mark.parametrize("max_length", [8, 100])
def test_one_pass_gives_what_target_by_target_gives(
    dataset: SequenceDataset, name: str, max_length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranks of a model in float64, whose ties are few, against one history at a time; in several batches."""
    monkeypatch.setitem(full_ranking_module.TOKENS, "cpu", 256)
    torch.manual_seed(0)
    model = recipe(name, "smoke", "long").model.build(dataset.item_count).double().eval()
    calls = []

    def counted(items: Tensor, *rest: Tensor) -> Tensor:
        calls.append(len(items))
        return model.score_next(items, *rest)

    ranking = full_ranking(counted, dataset, "test", max_length, CPU, 5, one_pass=model.causal)
    laid = target_windows(dataset, "test", max_length, shared=False)
    one_each = not model.causal or len(laid.users) == int((dataset.test_position >= 0).sum())
    assert sum(calls) == len(target_windows(dataset, "test", max_length, shared=not one_each).starts)
    wanted = []
    for user, place, start in zip(laid.users, laid.places, laid.starts, strict=True):
        begin = dataset.offsets[user]
        history = torch.from_numpy(dataset.items[start : begin + place].astype(numpy.int64))[None]
        whole = torch.from_numpy(dataset.items[begin : begin + place].astype(numpy.int64))[None]
        with torch.no_grad():
            scores = model.score_next(history, torch.tensor([history.shape[1]]), cells_of(whole, dataset.item_count))[0]
        target = int(dataset.items[begin + place]) - 1
        unseen = scores >= scores[target]
        unmasked = int(unseen.sum())
        unseen[whole[0] - 1] = False
        removed = scores.clone()
        removed[whole[0] - 1] = -torch.inf
        wanted.append(
            (
                int(user),
                target + 1,
                int(place),
                unmasked,
                int(unseen.sum()) if unseen[target] else MISSED,
                removed.topk(5).indices + 1,
            )
        )
    users, targets, places, unmasked, masked, best = zip(*wanted, strict=True)
    assert ranking.users.tolist() == list(users)
    assert ranking.targets.tolist() == list(targets)
    assert ranking.history_lengths.tolist() == list(places)
    assert ranking.unmasked.tolist() == list(unmasked)
    assert ranking.masked.tolist() == list(masked)
    firsts = [row for row, user in enumerate(users) if row == 0 or users[row - 1] != user]
    assert numpy.flatnonzero(ranking.first).tolist() == firsts
    present = numpy.isfinite(ranking.candidate_scores)
    for row, place in enumerate(firsts):
        assert ranking.candidates[row][present[row]].tolist() == best[place].tolist()[: present[row].sum()]

"""What each objective shows the model: which inputs, which targets, and nothing that gives a target away."""

import dataclasses
from pathlib import Path

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.data.batches import gather_rows
from ssm4rec.models.recommender import Recommender
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.objectives import Batch, Crops, objective
from ssm4rec.training.settings import Recipe

SEQUENCES = [[1, 2, 3, 4, 5, 6, 7], [3, 4, 5], [7, 6, 5, 4], [2, 1, 7, 6, 5, 4, 3, 2, 1]]
"""The last two items of each are for validation and test: 5, 1, 2 and 7 are for training."""


@pytest.fixture
def dataset(write_dataset: "object") -> SequenceDataset:
    folder: Path = write_dataset(SEQUENCES)
    return read_sequences(folder)


def model_of(name: str) -> Recommender:
    return recipe(name, "smoke", "long", "model.max_length=3").model.build(7)


def epoch(dataset: SequenceDataset, name: str, wanted: str, seed: int = 0, **changes: object) -> tuple[Crops, Batch]:
    model = model_of(name)
    settings = dataclasses.replace(recipe(name, "smoke", "long").training, objective=wanted, **changes)
    chosen = objective(settings, model)
    crops = chosen.crops(dataset, model.max_length, numpy.random.default_rng(seed))
    rows = gather_rows(dataset.items, crops.starts, crops.lengths + chosen.extra)
    return crops, chosen.batch(torch.from_numpy(rows), torch.Generator().manual_seed(seed))


def test_next_item_asks_at_every_position_of_one_crop_per_user(dataset: SequenceDataset) -> None:
    seen = set()
    for seed in range(30):
        crops, batch = epoch(dataset, "sasrec", "next-item", seed)
        assert crops.lengths.tolist() == [3, 1, 3]  # the second user has one training item: nothing to predict
        assert batch.items[1, 0] == 7
        assert batch.targets[1].tolist() == [6, 0, 0]
        seen.add((tuple(batch.items[0].tolist()), tuple(batch.targets[0].tolist())))
    assert seen == {((1, 2, 3), (2, 3, 4)), ((2, 3, 4), (3, 4, 5))}


def test_all_crops_show_every_target_once_whatever_the_length(dataset: SequenceDataset) -> None:
    expected = [([1, 2, 3, 4], [2, 3, 4, 5]), ([7], [6]), ([2, 1, 7, 6, 5, 4], [1, 7, 6, 5, 4, 3])]
    firsts = set()
    for seed in range(30):
        crops, batch = epoch(dataset, "sasrec", "next-item", seed, crops="all")
        assert 1 <= crops.lengths.min() <= crops.lengths.max() <= 3
        columns = (crops.starts, crops.lengths, batch.items, batch.targets)
        by_user: dict[int, tuple[list[int], list[int]]] = {}
        for start, length, items, targets in zip(*(column.tolist() for column in columns), strict=True):
            user = int(numpy.searchsorted(dataset.offsets, start, side="right")) - 1
            inputs, asked = by_user.setdefault(user, ([], []))
            inputs += items[:length]
            asked += [target for target in targets if target]
        assert [by_user[user] for user in sorted(by_user)] == expected
        firsts.add(int(crops.lengths[0]))
    assert firsts == {1, 2, 3}  # where the first user's items are cut differs from epoch to epoch


def test_every_prefix_is_every_target_once(dataset: SequenceDataset) -> None:
    _, batch = epoch(dataset, "sasrec", "every-prefix")
    found = sorted(
        ([item for item in row if item], target)
        for row, target in zip(batch.items.tolist(), batch.targets.tolist(), strict=True)
    )
    expected = []
    for items in ([1, 2, 3, 4, 5], [7, 6], [2, 1, 7, 6, 5, 4, 3]):
        expected += [(items[max(0, end - 3) : end], items[end]) for end in range(1, len(items))]
    assert found == sorted(expected)
    assert batch.lengths.tolist() == [sum(item > 0 for item in row) for row in batch.items.tolist()]


def test_sampled_prefixes_are_some_of_them(dataset: SequenceDataset) -> None:
    _, every = epoch(dataset, "sasrec", "every-prefix")
    known = {(tuple(row), target) for row, target in zip(every.items.tolist(), every.targets.tolist(), strict=True)}
    drawn = set()
    for seed in range(30):
        _, batch = epoch(dataset, "sasrec", "sampled-prefixes", seed, prefixes=2)
        assert len(batch.items) == 3 * 2
        drawn |= {
            (tuple(row), target) for row, target in zip(batch.items.tolist(), batch.targets.tolist(), strict=True)
        }
    assert drawn == known


def test_cloze_hides_what_it_asks_for(dataset: SequenceDataset) -> None:
    masks, last_only = 0, 0
    for seed in range(200):
        crops, batch = epoch(dataset, "hydra4rec", "cloze", seed, mask_share=0.3, last_share=0.25)
        assert crops.lengths.tolist() == [3, 2, 3]
        hidden = batch.items == 8  # the mask token of 7 items
        assert torch.equal(hidden, batch.targets > 0)
        assert hidden.any(dim=1).all()
        original = torch.where(hidden, batch.targets, batch.items)
        assert original[1].tolist() == [7, 6, 0]
        masks += int(hidden.sum())
        last_only += int((hidden.sum(1) == 1)[[0, 2]].sum())
    # Of a row of 3: last alone with .25, else a draw of three, the empty one (.343) falling back to the last.
    expected = 0.25 + 0.75 * (0.343 + 3 * 0.3 * 0.49)
    assert abs(last_only / 400 - expected) < 0.07
    assert masks > 600


def test_one_target_for_each_row_or_each_position(dataset: SequenceDataset) -> None:
    model = model_of("sasrec").eval()
    _, at_all = epoch(dataset, "sasrec", "next-item")
    hidden, targets = at_all.hidden(model)
    assert torch.equal(targets, at_all.targets[at_all.targets > 0])
    torch.testing.assert_close(hidden, model(at_all.items)[at_all.targets > 0])
    _, at_last = epoch(dataset, "sasrec", "every-prefix")
    hidden, targets = at_last.hidden(model)
    torch.testing.assert_close(hidden, model.next_hidden(at_last.items, at_last.lengths))
    assert torch.equal(targets, at_last.targets)


@pytest.mark.parametrize("name", ["next-item", "every-prefix", "sampled-prefixes", "cloze"])
def test_what_is_shown_before_a_target_is_what_its_prediction_depends_on(dataset: SequenceDataset, name: str) -> None:
    """Found by changing one input after the other and looking at which predictions move."""
    model = model_of("hydra4rec" if name == "cloze" else "sasrec").eval()
    _, batch = epoch(dataset, "hydra4rec" if name == "cloze" else "sasrec", name)
    seen = batch.seen(model)
    hidden, targets = batch.hidden(model)
    assert len(seen.rows) == len(seen.counts) == len(targets)
    for row, step in (batch.items > 0).nonzero().tolist():
        items = batch.items.clone()
        items[row, step] = items[row, step] % 7 + 1
        moved = (dataclasses.replace(batch, items=items).hidden(model)[0] - hidden).abs().amax(1) > 0
        assert torch.equal(moved, (seen.rows == row) & (step < seen.counts))
    assert torch.equal(seen.items, batch.items)


def test_objectives_that_do_not_fit_are_refused() -> None:
    bidirectional, causal = recipe("hydra4rec", "smoke", "long"), recipe("sasrec", "smoke", "long")
    with pytest.raises(ValueError, match="leaks the future"):
        Recipe(bidirectional.model, causal.training).check()
    with pytest.raises(ValueError, match=r"cloze needs a model with a mask token: model\.readout=mask"):
        Recipe(causal.model, bidirectional.training).check()

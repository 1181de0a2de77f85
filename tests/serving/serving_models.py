"""Recommenders with random weights, and what they answer to a user by definition: from all events, row by row."""

from collections.abc import Sequence
from pathlib import Path

import numpy
import torch

from ssm4rec.artifacts.items import read_items
from ssm4rec.artifacts.names import POPULARITY
from ssm4rec.artifacts.popularity import write_popularity
from ssm4rec.models.repeat_term import cells_of
from ssm4rec.models.serving import RecurrentRecommender
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.registry.recommending import Catalog, CatalogRecommender
from ssm4rec.training.start import Start
from tests.datasets import write_dataset_folder, write_items
from tests.trained_models import write_random_model

LENGTH = 6
"""Items that the models were made for: few, so that histories outgrow it."""


def make_recommender(name: str, seed: int = 0, items: int = 30, overrides: str = "") -> CatalogRecommender:
    """Items i1, i2, ... in an order of their own for every seed, so that their numbers differ between versions."""
    torch.manual_seed(seed)
    overrides = ",".join(filter(None, [f"model.max_length={LENGTH}", overrides]))
    model = recipe(name, "smoke", "short", overrides).model.build(items).eval()
    with torch.no_grad():  # as different as after a training
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        model.item_embedding.weight[0] = 0
        if model.repeat_term is not None:
            model.repeat_term.start.fill_(1.5)
            model.repeat_term.change.zero_()
    ids = [f"i{item + 1}" for item in numpy.random.default_rng(seed).permutation(items)]
    return CatalogRecommender(model, Catalog(ids, [f"Film {item_id[1:]}" for item_id in ids]))


def expected_scores(
    recommender: CatalogRecommender, events: Sequence[str], *, stateless: bool = False
) -> dict[str, float]:
    """Return every item's score after all events of a user, oldest first; empty if none is known."""
    model, length = recommender.model, recommender.model.max_length
    numbers = {item_id: item for item, item_id in enumerate(recommender.catalog.item_ids, start=1)}
    whole = [numbers[event] for event in events if event in numbers]
    span = len(events) if len(events) < 2 * length else length + len(events) % length
    read = [numbers[event] for event in events[len(events) - span :] if event in numbers]
    if stateless or not isinstance(model, RecurrentRecommender):
        read = whole[-length:] if stateless else read[-length:]
    if not read:
        return {}
    with torch.no_grad():
        seen = cells_of(torch.tensor([whole]), len(numbers))
        scores = model.score_next(torch.tensor([read]), torch.tensor([len(read)]), seen)
    return dict(zip(recommender.catalog.item_ids, scores[0].tolist(), strict=True))


def assert_best(ids: Sequence[str], scores: Sequence[float], expected: dict[str, float], count: int) -> None:
    """The answer has the ``count`` highest of the expected scores, to 1e-5, for the items that have them."""
    numpy.testing.assert_allclose(scores, sorted(expected.values(), reverse=True)[:count], rtol=0, atol=1e-5)
    numpy.testing.assert_allclose(scores, [expected[item_id] for item_id in ids], rtol=0, atol=1e-5)
    assert len({*ids}) == len(ids)


def write_champion(folder: Path, items: int = 60) -> Path:
    """Write a model folder of items i1, i2, ... called Film 1, Film 2, ... and their popularity, and return it."""
    sequences = [[(start + step) % items + 1 for step in range(20)] for start in range(items)]
    dataset = write_items(write_dataset_folder(folder / "dataset", sequences), [f"Film {i + 1}" for i in range(items)])
    start = Start(items=read_items(dataset))
    model = write_random_model(dataset, folder / "model", "2mamba4rec", 0.2, start=start)
    write_popularity(model / POPULARITY, {f"i{item}": float(item) for item in range(1, items + 1)})
    return model

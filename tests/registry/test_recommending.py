"""Recommendations against the same model asked row by row, without batches, padding or a catalog."""

import itertools
import random
from pathlib import Path

import pytest
import torch

from ssm4rec.evaluation.full_ranking import SCORE_CELLS
from ssm4rec.registry.recommending import Catalog, CatalogRecommender
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.model_folder import read_model
from tests.conftest import WriteDataset
from tests.datasets import write_items
from tests.trained_models import write_random_model

TITLES = [f"Film {item} (1995)" if item % 3 else None for item in range(1, 31)]


@pytest.fixture
def dataset(write_dataset: WriteDataset) -> Path:
    return write_items(write_dataset([[(start + step) % 30 + 1 for step in range(9)] for start in range(30)]), TITLES)


def expected(folder: Path, history: list[int], count: int, masked: bool) -> list[tuple[int, float]]:
    """The best items and their scores, by sorting all of them."""
    model = read_model(folder).model
    recent = history[-model.max_length :]
    with torch.no_grad():
        scores = model.score_next(torch.tensor([recent]), torch.tensor([len(recent)]))[0].tolist()
    ranked = sorted(enumerate(scores, start=1), key=lambda pair: -pair[1])
    return [pair for pair in ranked if not (masked and pair[0] in history)][:count]


@pytest.mark.parametrize("name", ["sasrec", "2mamba4rec", "hydra4rec"])
def test_answers_are_those_of_the_model(dataset: Path, tmp_path: Path, name: str) -> None:
    folder = write_random_model(dataset, tmp_path / name, name, 0.1)
    recommender = CatalogRecommender.read(folder, dataset)
    drawn = random.Random(0)
    lengths = [1, 2, 7, recommender.model.max_length + 5, 3, 29]
    histories = [drawn.choices(range(1, 31), k=length) for length in lengths]
    for count, masked in itertools.product((1, 10, 100), (True, False)):
        names = [
            [drawn.choice([f"i{item}", TITLES[item - 1] or f"i{item}"]) for item in history] for history in histories
        ]
        for history, answer in zip(histories, recommender.recommend(names, count, masked), strict=True):
            wanted = expected(folder, history, count, masked)
            assert answer.item_ids == [f"i{item}" for item, _ in wanted]
            assert answer.titles == [TITLES[item - 1] for item, _ in wanted]
            assert answer.scores == pytest.approx([score for _, score in wanted], abs=1e-5)
            assert (answer.unknown, answer.error) == ([], "")


def test_a_large_request_is_answered_in_parts(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recommender = CatalogRecommender.read(write_random_model(dataset, tmp_path / "model", "sasrec", 0.1), dataset)
    names = [[f"i{(row + step) % 30 + 1}" for step in range(1 + row % 6)] for row in range(20)]
    whole = recommender.recommend(names, 5, masked=True)
    monkeypatch.setitem(SCORE_CELLS, "cpu", 2 * 30)
    parts = recommender.recommend(names, 5, masked=True)
    assert [answer.item_ids for answer in parts] == [answer.item_ids for answer in whole]


def test_unknown_names_are_left_out_and_reported(dataset: Path, tmp_path: Path) -> None:
    recommender = CatalogRecommender.read(write_random_model(dataset, tmp_path / "model", "sasrec", 0.1), dataset)
    mixed, plain, empty, foreign = recommender.recommend(
        [["i4", "Alien", "FILM 7 (1995)", "i99"], ["i4", "i7"], [], ["Alien"]], 5, masked=True
    )
    assert mixed.unknown == ["Alien", "i99"]
    assert mixed.item_ids == plain.item_ids
    assert mixed.scores == pytest.approx(plain.scores)
    assert (empty.item_ids, empty.error) == ([], "row 2: nothing to go by in this history, it is empty")
    assert (foreign.item_ids, foreign.unknown) == ([], ["Alien"])
    assert foreign.error == "row 3: nothing to go by in this history, none of its entries is an item's id or title"
    (alone,) = recommender.recommend([[]], 5, masked=True)
    assert alone.error.startswith("row 0: ")


def test_names_are_ids_then_titles_then_titles_of_any_case() -> None:
    catalog = Catalog(["7", "8", "9", "10"], ["8", "Up", "up", "Up"])
    assert [catalog.find(name) for name in ("8", "Up", "up", "UP", "Down", "")] == [2, 2, 3, 2, 0, 0]


def test_items_of_another_data_set(dataset: Path, tmp_path: Path, write_dataset: WriteDataset) -> None:
    folder = write_random_model(dataset, tmp_path / "model", "sasrec", 0.1)
    other = write_items(write_dataset([[1, 2, 3, 4]], folder="other"), ["A", "B", "C", "D"])
    with pytest.raises(InputError, match=r"items\.parquet: 4 items, but the model in .*/model knows 30; use the data"):
        CatalogRecommender.read(folder, other)

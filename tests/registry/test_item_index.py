"""What an index proposes, against the scores of all items."""

import json
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.item_index import ItemIndexFacts
from ssm4rec.evaluation.full_ranking import ScoresNotNumbersError
from ssm4rec.models.recommender import Recommender
from ssm4rec.models.repeat_term import cells_of
from ssm4rec.registry.index_recall import measured_index
from ssm4rec.registry.item_index import ItemIndex, best_by_index, read_item_index
from ssm4rec.runtime.errors import InputError
from ssm4rec.stages.register_champion.__main__ import run
from ssm4rec.stages.register_champion.settings import Settings
from ssm4rec.training.model_folder import read_model
from tests.datasets import write_dataset_folder
from tests.serving.serving_models import make_recommender
from tests.trained_models import write_random_model

pytestmark = pytest.mark.filterwarnings(
    # MLflow's own: at import, and about the input example.
    "ignore:.*Any type hint is inferred:UserWarning",
    "ignore:Operation with range:DeprecationWarning",
    "ignore:.*noload:DeprecationWarning",
)

ITEMS = 3000
SEQUENCES = [[(37 * start + 11 * step) % 1000 + 1 for step in range(12)] for start in range(200)]
"""Of 1,000 items, each had by somebody."""


@pytest.fixture(scope="module")
def model() -> Recommender:
    return make_recommender("2mamba4rec", items=ITEMS).model


@pytest.fixture(scope="module")
def index(model: Recommender) -> ItemIndex:
    return ItemIndex.build(model.item_vectors())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("indexed")
    dataset = write_dataset_folder(folder / "dataset", SEQUENCES)
    write_random_model(dataset, folder / "model", "2mamba4rec", 0.2)
    return folder


def register(folder: Path, out: Path) -> Path:
    """Run the stage with an index; return the model folder in the champion."""
    flags = ["--dataset-dir", folder / "dataset", "--models", folder / "model", "--item-index", "true"]
    flags += ["--champion-dir", out / "champion", "--registration", out / "registration.json"]
    run(Settings.parser().parse_args(list(map(str, flags))))
    return out / "champion" / "artifacts" / "recommender"


def histories(count: int) -> list[Tensor]:
    drawn = torch.Generator().manual_seed(1)
    return [torch.randint(1, ITEMS + 1, (1, 1 + place % 6), generator=drawn) for place in range(count)]


@torch.no_grad()
def test_answers_are_those_of_all_scores_but_for_few_items(model: Recommender, index: ItemIndex) -> None:
    """With a fifth of the items removed, and a repeat term that raises those of the history: they are among them."""
    removed = numpy.random.default_rng(0).random(ITEMS) < 0.2
    shared = []
    for history in histories(40):
        hidden = model.next_hidden(history, torch.tensor([history.shape[1]]))
        scores = model.score(hidden, cells_of(history, ITEMS))[0]
        kept = scores.masked_fill(torch.from_numpy(removed), -torch.inf)
        had = history[0].numpy().astype(numpy.int32)
        found = best_by_index(model, index, hidden, had, removed, 20)
        assert found is not None
        items, values = found
        assert len({*items.tolist()}) == 20
        assert not removed[items - 1].any()
        numpy.testing.assert_allclose(values, scores[items - 1].numpy(), rtol=0, atol=1e-5)
        assert (numpy.diff(values) <= 0).all()
        best = kept.topk(20).indices.numpy() + 1
        shared.append(len({*best.tolist()} & {*items.tolist()}) / 20)
        assert {*had[~removed[had - 1]].tolist()} & {*best.tolist()} <= {*items.tolist()}
    assert numpy.mean(shared) >= 0.98


@torch.no_grad()
def test_where_hardly_anything_is_left_all_items_are_to_be_scored(model: Recommender, index: ItemIndex) -> None:
    hidden = model.next_hidden(torch.tensor([[5]]), torch.tensor([1]))
    had = numpy.array([5], dtype=numpy.int32)
    removed = numpy.ones(ITEMS, dtype=bool)
    removed[:9] = False
    assert best_by_index(model, index, hidden, had, removed, 10) is None
    with pytest.raises(ScoresNotNumbersError, match="NaN or infinite"):
        best_by_index(model, index, hidden * torch.nan, had, ~removed, 10)


def test_an_index_is_the_same_for_the_same_vectors_and_takes_large_ones(index: ItemIndex, model: Recommender) -> None:
    """Half precision ends at 65,504."""
    other = ItemIndex.build(model.item_vectors() * 1e6)
    for history in histories(5):
        hidden = model.next_hidden(history, torch.tensor([history.shape[1]]))[0]
        assert index.nearest(hidden, 50).tolist() == other.nearest(hidden * 1e6, 50).tolist()


@torch.no_grad()
def test_recall_is_measured_on_validation_users(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    dataset, model = read_sequences(folder / "dataset"), read_model(folder / "model").model.eval()
    measured = measured_index(model, dataset)
    shares = []
    for sequence in SEQUENCES:
        history = torch.tensor([sequence[:-2]])
        hidden = model.next_hidden(history[:, -model.max_length :], torch.tensor([min(10, model.max_length)]))
        scores = model.score(hidden, cells_of(history, 1000))[0]
        had = numpy.array(sequence[:-2], dtype=numpy.int32)
        found = best_by_index(model, measured.index, hidden, had, numpy.zeros(1000, dtype=bool), 10)
        assert found is not None
        shares.append(len({*(scores.topk(10).indices + 1).tolist()} & {*found[0].tolist()}) / 10)
    assert (measured.users, measured.recall) == (200, pytest.approx(numpy.mean(shares), abs=0.001))
    assert f"recall@10 {measured.recall:.4f} on 200 validation users" in caplog.text


def test_a_champion_has_its_index_and_no_other(folder: Path, tmp_path: Path) -> None:
    champion = register(folder, tmp_path)
    facts = ItemIndexFacts.read(champion / "item_index.json")
    read = read_item_index(champion)
    assert read is not None
    assert (read.recall, read.users, read.index.width) == (facts.recall, 200, facts.width)
    model = read_model(folder / "model").model
    hidden = model.item_vectors()[7]
    assert read.index.nearest(hidden, 5).tolist() == ItemIndex.build(model.item_vectors()).nearest(hidden, 5).tolist()
    assert read_item_index(folder / "model") is None
    for name in ("items.usearch", "model.safetensors", "items.parquet"):
        whole = (champion / name).read_bytes()
        (champion / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(InputError, match=rf"{name}: not the file of which item_index\.json next to it speaks"):
            read_item_index(champion)
        (champion / name).write_bytes(whole)
    (champion / "items.usearch").unlink()
    with pytest.raises(InputError, match=r"items\.usearch: not the file of which"):
        read_item_index(champion)
    (champion / "item_index.json").write_text(json.dumps({"width": 3}))
    with pytest.raises(InputError, match=r"item_index\.json: not the facts of an item index"):
        read_item_index(champion)


def test_a_small_catalog_gets_none(tmp_path: Path) -> None:
    sequences = [[item % 60 + 1 for item in range(start, start + 9)] for start in range(60)]
    dataset = write_dataset_folder(tmp_path / "dataset", sequences)
    write_random_model(dataset, tmp_path / "model", "sasrec", 0.2)
    with pytest.raises(InputError, match="--item-index: to score all 60 items is faster than to search them"):
        register(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""What an index proposes, against the scores of all items."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import Int64s, read_sequences
from ssm4rec.artifacts.item_index import ItemIndexFacts
from ssm4rec.artifacts.names import ITEM_INDEX, ITEM_INDEX_FACTS, MODEL_WEIGHTS
from ssm4rec.evaluation.full_ranking import ScoresNotNumbersError
from ssm4rec.models.recommender import Recommender
from ssm4rec.models.repeat_term import cells_of
from ssm4rec.registry.index_recall import measured_index
from ssm4rec.registry.item_index import SEARCH, ItemIndex, MeasuredIndex, best_by_index, read_item_index
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import digest_of
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


@pytest.fixture(autouse=True)
def catalogs_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as the rule goes when to search: a large index takes minutes to build."""
    monkeypatch.setattr("ssm4rec.registry.item_index._SHARE", 1)
    monkeypatch.setattr("ssm4rec.registry.index_recall._SMALLEST", 1000)


class Asked(ItemIndex):
    """An index that keeps how many items it was asked for."""

    def __init__(self, index: ItemIndex) -> None:
        super().__init__(index._graph)
        self.counts: list[int] = []

    def nearest(self, hidden: Tensor, count: int) -> Int64s:
        self.counts.append(count)
        return super().nearest(hidden, count)


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


@pytest.mark.parametrize(
    ("share", "count", "asked"), [(1, 1, [200]), (1, 40, [800]), (0.5, 10, [400]), (0.25, 10, [800]), (0.25, 13, [])]
)
@torch.no_grad()
def test_one_search_for_so_many_that_enough_are_left(
    share: float, count: int, asked: list[int], model: Recommender, index: ItemIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty for each one wanted, at least 200; all items are scored where these were more than 1,000 proposed."""
    hidden, had = model.next_hidden(torch.tensor([[5]]), torch.tensor([1])), numpy.array([5], dtype=numpy.int32)
    removed = numpy.arange(ITEMS) % round(1 / share) > 0
    removed[had - 1] = False
    spied = Asked(index)
    found = best_by_index(model, spied, hidden, had, removed, count)
    assert spied.counts == pytest.approx(asked, abs=2)  # the history's item is not counted
    assert (found is None) == (not asked)
    monkeypatch.setattr("ssm4rec.registry.item_index._SHARE", 250)
    assert best_by_index(model, spied, hidden, had, removed, count) is None
    assert len(spied.counts) == len(asked), "more than a 250th of 3,000 items was searched"


@torch.no_grad()
def test_where_the_best_are_removed_all_items_are_to_be_scored(model: Recommender, index: ItemIndex) -> None:
    """Too few of those proposed are left to choose from, though enough of all."""
    hidden, had = model.next_hidden(torch.tensor([[5]]), torch.tensor([1])), numpy.array([5], dtype=numpy.int32)
    removed = numpy.zeros(ITEMS, dtype=bool)
    removed[index.nearest(hidden[0], 20) - 1] = True
    assert best_by_index(model, index, hidden, had, removed, 10) is not None
    removed[index.nearest(hidden[0], 50) - 1] = True
    assert best_by_index(model, index, hidden, had, removed, 10) is None


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
    model = read_model(folder / "model").model
    read = read_item_index(champion, model)
    assert read is not None
    assert (read.recall, read.users, read.index.width) == (facts.recall, 200, facts.width)
    assert read.search == facts.search == SEARCH
    assert read.measure() == f"recall@10 {facts.recall:.4f} on 200 validation users"
    hidden = model.item_vectors()[7]
    assert read.index.nearest(hidden, 5).tolist() == ItemIndex.build(model.item_vectors()).nearest(hidden, 5).tolist()
    assert read_item_index(folder / "model", model) is None
    for name in ("items.usearch", "model.safetensors", "items.parquet"):
        whole = (champion / name).read_bytes()
        (champion / name).write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        with pytest.raises(InputError, match=rf"{name}: not the file of which item_index\.json next to it speaks"):
            read_item_index(champion, model)
        (champion / name).write_bytes(whole)
    (champion / "items.usearch").unlink()
    with pytest.raises(InputError, match=r"items\.usearch: not the file of which"):
        read_item_index(champion, model)
    (champion / "item_index.json").write_text(json.dumps({"width": 3}))
    with pytest.raises(InputError, match=r"item_index\.json: not the facts of an item index"):
        read_item_index(champion, model)
    (champion / "item_index.json").unlink()
    (champion / "item_index.json").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"item_index\.json: no such file"):
        read_item_index(champion, model)


def test_a_recall_of_another_search_is_said_to_be_one(folder: Path, tmp_path: Path) -> None:
    """A champion that does not say by which search is of an earlier one."""
    champion = register(folder, tmp_path)
    model, path = read_model(folder / "model").model, champion / ITEM_INDEX_FACTS
    facts = json.loads(path.read_text())
    del facts["search"]
    path.write_text(json.dumps(facts))
    for search, told in ((0, "measured by an earlier search: register"), (SEARCH + 1, "measured by a later search")):
        found = read_item_index(champion, model)
        assert found is not None
        assert found.search == search
        assert f"on 200 validation users, {told}" in found.measure()
        path.write_text(json.dumps({**facts, "search": SEARCH + 1}))


def said_otherwise(**changed: object) -> Callable[[Path], None]:
    def change(champion: Path) -> None:
        path = champion / ITEM_INDEX_FACTS
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


def other_index(vectors: Tensor) -> Callable[[Path], None]:
    return lambda champion: ItemIndex.build(vectors).save(champion / ITEM_INDEX)


def half_an_index(champion: Path) -> None:
    path = champion / ITEM_INDEX
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (said_otherwise(sha256={}), "item_index.json: sha256 is of nothing, not of items.usearch, model.safetensors"),
        (said_otherwise(sha256={MODEL_WEIGHTS: "0"}), "item_index.json: sha256 is of model.safetensors, not of"),
        (said_otherwise(width=10**12), "width 16, item_index.json says 1000000000000, but the model"),
        (other_index(torch.eye(1200)[:, :16]), "items.usearch: of 1,200 items of width 16, item_index.json says 16"),
        (other_index(torch.ones(1000, 8)), "items.usearch: of 1,000 items of width 8, item_index.json says 16"),
        (half_an_index, "items.usearch: not a readable index ("),
    ],
)
def test_an_index_that_does_not_fit_is_one_line_when_it_is_read(
    change: Callable[[Path], None], says: str, folder: Path, tmp_path: Path
) -> None:
    """Digests renewed: what cannot be the model's index must not fail at the first request."""
    model = read_model(folder / "model").model
    champion = tmp_path / "champion"
    shutil.copytree(folder / "model", champion)
    shutil.copyfile(folder / "dataset" / "items.parquet", champion / "items.parquet")
    MeasuredIndex(ItemIndex.build(model.item_vectors()), 1.0, 200).write(champion)
    digest = digest_of(champion / ITEM_INDEX)
    change(champion)
    facts = (champion / ITEM_INDEX_FACTS).read_text()
    (champion / ITEM_INDEX_FACTS).write_text(facts.replace(digest, digest_of(champion / ITEM_INDEX)))
    with pytest.raises(InputError) as raised:
        read_item_index(champion, model)
    assert says in str(raised.value)
    assert str(raised.value).startswith(str(champion))
    assert "\n" not in str(raised.value)
    assert "register the champion again, or remove items.usearch and item_index.json" in str(raised.value)


def test_without_usearch_nothing_begins(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssm4rec.runtime.extras.find_spec", lambda name: None)
    with pytest.raises(InputError, match="--item-index: usearch is not installed; install it"):
        register(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_small_catalog_is_registered_without_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sequences = [[item % 60 + 1 for item in range(start, start + 9)] for start in range(60)]
    dataset = write_dataset_folder(tmp_path / "dataset", sequences)
    write_random_model(dataset, tmp_path / "model", "sasrec", 0.2)
    champion = register(tmp_path, tmp_path / "out")
    assert (champion / MODEL_WEIGHTS).exists()
    assert not (champion / ITEM_INDEX_FACTS).exists()
    assert "no index: 60 items, fewer than 1,000, are scored faster whole" in caplog.text

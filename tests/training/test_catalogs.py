"""A model for items other than those it was trained on: by their ids, and new ones by their words."""

import dataclasses
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.items import read_items
from ssm4rec.models.item_words import item_words
from ssm4rec.models.table import MODELS, config_from_json
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.initial_model import start_from
from ssm4rec.training.model_folder import read_model, read_model_for, write_weights
from ssm4rec.training.start import Start, read_start
from tests.datasets import write_dataset_folder, write_items
from tests.trained_models import write_random_model

OLD = [f"thing {item} of {'red' if item % 2 else 'blue'}" for item in range(1, 13)]
NEW = ["thing 13 of red", "something blue"]
ORDER = [13, 3, 1, 2, 12, 4, 5, 6, 7, 8, 9, 10, 11, 14]
"""Which of the items 1..14 each item of the later data is."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    folder = write_dataset_folder(tmp_path / "old", [[(u + step) % 12 + 1 for step in range(7)] for u in range(12)])
    return write_items(folder, OLD)


@pytest.fixture
def later(tmp_path: Path) -> Path:
    folder = write_dataset_folder(tmp_path / "later", [[(u + step) % 14 + 1 for step in range(7)] for u in range(14)])
    return name_items(folder)


def name_items(folder: Path) -> Path:
    """Give the later data's items the ids that :data:`ORDER` says, i1 to i14, and their titles."""
    titles = [*OLD, *NEW]
    table = pyarrow.table(
        {
            "item": pyarrow.array(range(1, 15), pyarrow.int32()),
            "item_id": [f"i{item}" for item in ORDER],
            "title": [titles[item - 1] for item in ORDER],
        }
    )
    pyarrow.parquet.write_table(table, folder / "items.parquet")
    return folder


def write_model(old: Path, folder: Path, name: str, overrides: str) -> Path:
    """Write the folder of a model with random weights in everything, as if trained on the old data."""
    chosen = recipe(name, "smoke", "short", overrides).model
    start = read_start(chosen, read_sequences(old), old)
    return write_random_model(old, folder, name, 0.1, overrides=overrides, start=start)


@pytest.mark.parametrize("overrides", ["model.item_vectors=id+text", "model.item_vectors=text"])
@pytest.mark.parametrize("name", MODELS)
def test_an_extended_catalog_equals_a_model_built_with_it(
    old: Path, later: Path, tmp_path: Path, name: str, overrides: str
) -> None:
    more = ",model.output_bias=true" if name == "lrurec" else ""
    folder = write_model(old, tmp_path / "model", name, f"{overrides},model.vocabulary=300{more}")
    stored = read_model(folder)
    extended = read_model_for(read_items(later), folder)[0]
    assert extended.config["items"] == 14
    words = item_words([[*OLD, *NEW][item - 1] for item in ORDER], (folder / "tokenizer.json").read_text())
    built = config_from_json(name, stored.config["recipe"]["model"]).build(14, words).eval()
    weights = dict(stored.model.state_dict())
    for key in ("item_embedding.ids.weight", "item_bias"):
        if key in weights:
            first = len(weights[key]) - 12  # of item 1
            padded = torch.cat([weights[key], torch.zeros_like(weights[key][:2])])
            weights[key] = torch.cat([padded[:first], padded[first - 1 + torch.tensor(ORDER)]])
    built.load_state_dict(weights)
    items, lengths = torch.tensor([[1, 5, 3, 2], [14, 2, 0, 0]]), torch.tensor([4, 2])
    with torch.no_grad():
        assert torch.equal(extended.model.score_next(items, lengths), built.score_next(items, lengths))
        known = torch.tensor([ORDER.index(item) for item in range(1, 13)])  # places of the old items
        history = known[torch.tensor([[4, 9, 7]]) - 1] + 1
        scores = extended.model.score_next(history, torch.tensor([3]))[:, known]
        torch.testing.assert_close(scores, stored.model.score_next(torch.tensor([[4, 9, 7]]), torch.tensor([3])))
    written = tmp_path / "written"
    written.mkdir()
    write_weights(written, extended.model, extended.config)
    for kept in (folder / "tokenizer.json", later / "items.parquet"):
        (written / kept.name).write_bytes(kept.read_bytes())
    with torch.no_grad():
        assert torch.equal(read_model(written).model.score_next(items, lengths), built.score_next(items, lengths))


def test_a_model_of_ids_alone_takes_fewer_items_but_no_new_ones(old: Path, later: Path, tmp_path: Path) -> None:
    folder = write_model(old, tmp_path / "model", "sasrec", "")
    with pytest.raises(
        InputError, match=r"2 items, such as 'i13', are not among those of .*model.item_vectors=id\+text"
    ):
        read_model_for(read_items(later), folder)
    fewer = write_items(write_dataset_folder(tmp_path / "fewer", [[1, 2, 3]]), OLD[:3])
    scores = read_model(folder).model.score_next(torch.tensor([[1, 2]]), torch.tensor([2]))
    model = read_model_for(read_items(fewer), folder)[0].model
    torch.testing.assert_close(model.score_next(torch.tensor([[1, 2]]), torch.tensor([2])), scores[:, :3])


@pytest.mark.parametrize("titles", ["none", "others"])
def test_a_model_keeps_its_own_words_of_items_that_it_knows(
    old: Path, later: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, titles: str
) -> None:
    """Whatever the data call them; new items have the data's words, and those without any are counted."""
    overrides = "model.item_vectors=id+text,model.vocabulary=300"
    folder = write_model(old, tmp_path / "model", "sasrec", overrides)
    items = read_items(later)
    own, own_items = read_model_for(items, folder)
    assert not caplog.text
    assert own_items == items
    changed = {"none": [None] * 14, "others": [NEW[0], *["something else"] * 12, NEW[1]]}[titles]
    found, found_items = read_model_for(dataclasses.replace(items, titles=changed), folder)
    history, length = torch.tensor([[3, 9, 7]]), torch.tensor([3])
    known = slice(1, 13)
    with torch.no_grad():
        scores, wanted = (one.model.score_next(history, length)[0] for one in (found, own))
    assert torch.equal(scores[known], wanted[known])
    assert torch.equal(scores, wanted) == (titles == "others")
    assert found_items.titles[known] == items.titles[known]
    (line,) = caplog.messages
    assert {
        "none": "2 items that the model does not know have no title: nothing is known of them",
        "others": "12 items have other titles than the model was trained with, whose own count: 'i3' is "
        "'something else' here, not 'thing 3 of red'",
    }[titles] in line
    pyarrow.parquet.write_table(
        pyarrow.parquet.read_table(later / "items.parquet").set_column(2, "title", pyarrow.array(changed, "string")),
        later / "items.parquet",
    )
    dataset, chosen = read_sequences(later), recipe("sasrec", "smoke", "short", overrides).model
    if titles == "none":
        with pytest.raises(InputError, match=r"--overrides model.item_vectors=id\+text: .* has no titles"):
            start_from(folder, "sasrec", chosen, dataset, later)
    else:
        start = start_from(folder, "sasrec", chosen, dataset, later)
        assert start.items == found_items
        assert start.words
        assert start.words.digest == found.config["words"]


@pytest.mark.parametrize("kind", ["id", "text", "id+text"])
@pytest.mark.parametrize("name", ["sasrec", "hydra4rec"])
def test_a_training_starts_with_the_rows_of_known_items(
    old: Path, later: Path, tmp_path: Path, name: str, kind: str
) -> None:
    overrides = f"model.item_vectors={kind},model.vocabulary=300"
    folder = write_model(old, tmp_path / "model", name, overrides)
    dataset, chosen = read_sequences(later), recipe(name, "smoke", "short", overrides).model
    start = start_from(folder, name, chosen, dataset, later)
    torch.manual_seed(7)
    begun = start.model(chosen, dataset).state_dict()
    torch.manual_seed(7)
    drawn = chosen.build(14, start.words).state_dict()
    stored = read_model(folder).model.state_dict()
    tables = {"item_embedding.weight", "item_embedding.ids.weight"} & begun.keys()
    assert len(tables) == (kind != "text")
    for key, weights in begun.items():
        if key not in tables:
            assert torch.equal(weights, stored[key]), key
            continue
        for item, which in enumerate(ORDER, start=1):
            new = drawn[key][item] if kind == "id" else torch.zeros_like(weights[item])
            assert torch.equal(weights[item], stored[key][which] if which <= 12 else new)
        assert not weights[0].any()
        if kind == "id" and name == "hydra4rec":
            assert torch.equal(weights[-1], stored[key][-1])  # the mask token
    assert start.identity()["initial_model"] != Start().identity().get("initial_model")


def test_equal_ids_of_another_catalog_are_other_items(old: Path, later: Path, tmp_path: Path) -> None:
    """As MovieLens-100K's number 7 is another film than MovieLens-1M's: words carry over, own vectors do not."""
    overrides = "model.item_vectors=id+text,model.vocabulary=300"
    folder = write_model(old, tmp_path / "model", "sasrec", overrides)
    dataset, chosen = read_sequences(later), recipe("sasrec", "smoke", "short", overrides).model
    known, other = (
        start_from(folder, "sasrec", chosen, dataset, later, same_items=same_items) for same_items in (True, False)
    )
    stored, begun = read_model(folder).model.state_dict(), other.model(chosen, dataset).state_dict()
    assert known.model(chosen, dataset).state_dict()["item_embedding.ids.weight"].any()
    assert not begun["item_embedding.ids.weight"].any()
    assert all(torch.equal(begun[key], stored[key]) for key in begun.keys() - {"item_embedding.ids.weight"})
    assert known.identity() != other.identity()  # a checkpoint of one is none of the other
    ids = write_model(old, tmp_path / "ids", "sasrec", "")
    chosen = recipe("sasrec", "smoke", "short", "").model
    with pytest.raises(InputError, match=r"such as .*, with --same-items false; only a model of words"):
        start_from(ids, "sasrec", chosen, dataset, later, same_items=False)


def test_another_model_or_size_or_no_common_item_is_refused(old: Path, later: Path, tmp_path: Path) -> None:
    folder = write_model(old, tmp_path / "model", "sasrec", "")
    dataset = read_sequences(later)

    def refused(name: str, overrides: str, data: Path = later) -> str:
        with pytest.raises(InputError) as caught:
            start_from(folder, name, recipe(name, "smoke", "short", overrides).model, dataset, data)
        return str(caught.value)

    assert refused("2mamba4rec", "").endswith("model: a sasrec, not a 2mamba4rec; train its model")
    assert "model.d_model is 16 there and 32 here; set it with --overrides" in refused("sasrec", "model.d_model=32")
    assert "model.item_vectors is id there and text here" in refused("sasrec", "model.item_vectors=text")
    other = write_items(write_dataset_folder(tmp_path / "other", [[1, 2, 3]]), ["a", "b", "c"], prefix="x")
    assert "knows none of the items of" in refused("sasrec", "", other)
    (folder / "items.parquet").unlink()
    assert "items.parquet: no such file; a version that kept none trained it" in refused("sasrec", "")

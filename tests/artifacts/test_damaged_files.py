"""Files between stages that are not what they should be: one line that names the file and what is wrong in it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file, save_file

from ssm4rec.artifacts.codec import Count, Share, read_document, read_rows, write_rows
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import read_json
from ssm4rec.training.model_folder import read_model
from tests.trained_models import write_random_model

Change = Callable[[Any], Any]


def refusal(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises(InputError) as raised:
        read(path)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def without(name: str) -> Change:
    return lambda document: {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: [None], "list: Input should be an object"),
        (lambda _: 7, "int: Input should be an object"),
        (without("dataset"), "dataset: Field required"),
        (without("counts"), "counts: Field required"),
        (lambda found: found | {"split": {}}, "split.name: Field required"),
        (lambda found: found | {"split": "leave-one-out"}, "split: Input should be an object"),
        (lambda found: found | {"sources": [{}]}, "sources.0.address: Field required"),
        (lambda found: found | {"counts": {**found["counts"], "items": "12"}}, "counts.items: Input should be a valid"),
        (lambda found: found | {"counts": {**found["counts"], "items": 10**30}}, "counts.items: Input should be less"),
        (lambda found: found | {"counts": {**found["counts"], "items": 13}}, "items are 1..12, not 1..13"),
        (
            lambda found: found | {"counts": {**found["counts"], "users": 1}},
            "40 users, manifest.json next to it says 1",
        ),
        (
            lambda found: found | {"counts": {**found["counts"], "users": 10**12}},
            "40 users, manifest.json next to it says 1000000000000",
        ),
        (lambda found: found | {"filters": [{"filter": "k-core"}]}, "filters.0.setting: Field required"),
        (lambda found: found | {"fingerprint": "ff"}, "belongs to another dataset"),
    ],
)
def test_manifests(change: Change, says: str, cycle_dataset: Path) -> None:
    path = cycle_dataset / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    said = refusal(read_sequences, cycle_dataset)
    assert says in said
    assert str(cycle_dataset) in said
    assert "run prepare_data again" in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": NaN}', "NaN is not a number"),
        ("Infinity", "Infinity is not a number"),
        ('{"a": -1e999}', "-1e999 is too large"),
        ('{"a": 1, "a": 2}', "'a' stands twice"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("9" * 5000, "a number of 5000 digits"),
        ('"\\ud800"', "surrogates not allowed"),
        ("\ufeff{}", "BOM"),
        ("", "Expecting value"),
    ],
)
def test_json_that_is_none(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    assert says in refusal(read_json, tmp_path / "a.json")


def set_column(name: str, values: list[Any], kind: pyarrow.DataType) -> Change:
    return lambda table: table.set_column(table.column_names.index(name), name, pyarrow.array(values, kind))


LISTS, INTS = pyarrow.list_(pyarrow.int32()), pyarrow.int32()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda table: table.drop_columns("items"), "no column 'items'"),
        (lambda table: table.drop_columns("test_position"), "no column 'test_position'"),
        (lambda table: table.append_column("items", table.column("items")), "twice the column 'items'"),
        (lambda table: table.slice(0, 0), "empty, not the sequences of a dataset folder"),
        (lambda table: table.replace_schema_metadata({}), "fingerprint missing"),
        (set_column("items", ["1"] * 40, pyarrow.string()), "column items is string, not list"),
        (set_column("items", [None] * 40, LISTS), "column items has missing values"),
        (set_column("items", [[1, None]] * 40, LISTS), "column items has missing values"),
        (set_column("items", [[]] * 40, LISTS), "0 interactions, manifest.json next to it says"),
        (set_column("train_length", [None] * 40, INTS), "column train_length has missing values"),
        (set_column("train_length", [{"a": 1}] * 40, pyarrow.struct([("a", INTS)])), "train_length is not int32"),
        (set_column("train_length", [1.5] * 40, pyarrow.float64()), "column train_length is not int32"),
        (set_column("train_length", [99] * 40, INTS), "row 0 has a train_length outside the sequence"),
        (set_column("validation_position", [-2] * 40, INTS), "row 0 has a validation_position outside"),
        (set_column("test_position", [2**31 - 1] * 40, INTS), "row 0 has a test_position outside the sequence"),
        (set_column("test_position", [2] * 40, INTS), "not the sequences of its fingerprint"),
    ],
)  # fmt: skip
def test_sequences(change: Change, says: str, cycle_dataset: Path) -> None:
    path = cycle_dataset / "sequences.parquet"
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(path)), path)
    said = refusal(read_sequences, cycle_dataset)
    assert says in said
    assert str(path) in said


def weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        found = load_file(folder / "model.safetensors")
        change(found)
        save_file(found, folder / "model.safetensors")

    return damage


def config(*place: str, value: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        document = json.loads((folder / "config.json").read_text())
        part = document
        for name in place[:-1]:
            part = part[name]
        part[place[-1]] = value
        (folder / "config.json").write_text(json.dumps(document))

    return damage


@pytest.mark.parametrize("model", ["sasrec", "2mamba4rec", "lrurec"])
@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (weights(lambda found: found.pop("item_embedding.weight")), "item_embedding.weight is missing, not ("),
        (weights(lambda found: found.update(more=torch.zeros(3))), "more is (3,), not there"),
        (weights(lambda found: found.update({"item_embedding.weight": torch.ones(3, 4)})), "weight is (3, 4)"),
        (weights(lambda found: found["item_embedding.weight"][1].fill_(torch.nan)), "embedding.weight are not finite"),
        (weights(lambda found: found["item_embedding.weight"][0, 0].fill_(torch.inf)), "weight are not finite"),
        (config("recipe", "model", value=None), "recipe.model: Input should be"),
        (config("recipe", "model", "d_model", value="64"), "d_model: Input should be a valid integer"),
        (config("recipe", "model", "d_model", value=10**9), "config.json"),
        (config("recipe", "model", "n_layers", value=10**9), "1000000000 layers, model.safetensors next to it has"),
        (config("recipe", "model", "extra", value=1), "extra: unknown"),
        (config("items", value=0), "items: Input should be greater"),
        (config("fingerprint", value=1.5), "fingerprint: Input should be a valid string"),
        (config("training", "validation_ndcg@10", value=1.5), "validation_ndcg@10: Input should be less"),
        (config("model", value="gru4rec"), "there is no model called 'gru4rec'"),
    ],
)  # fmt: skip
def test_models(model: str, damage: Callable[[Path], None], says: str, cycle_dataset: Path, tmp_path: Path) -> None:
    folder = write_random_model(cycle_dataset, tmp_path / "model", model, 0.1)
    damage(folder)
    assert says in refusal(read_model, folder)


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    name: str
    count: Count
    share: Share | None
    parts: list[Count]


def test_rows_and_documents(tmp_path: Path) -> None:
    rows = [Row("a", 1, 0.5, [1, 2]), Row("b", 0, None, [])]
    path = tmp_path / "rows.parquet"
    write_rows(path, rows, Row)
    read: Callable[[Path], object] = lambda path: read_rows(path, Row, "rows", "a_stage")  # noqa: E731
    assert read(path) == rows
    table = pyarrow.parquet.read_table(path)
    for name, values, says in (
        ("count", [1, -1], "(row 1.count: Input should be greater"),
        ("share", [0.5, float("nan")], "column share has numbers that are not finite"),
        ("share", [0.5, 1.5], "(row 1.share: Input should be less"),
        ("name", ["a", None], "column name has missing values"),
        ("parts", [[1], [-1]], "(row 1.parts.0: Input should be greater"),
    ):
        changed = table.set_column(table.column_names.index(name), name, [values])
        pyarrow.parquet.write_table(changed, path)
        assert says in refusal(read, path)
    (tmp_path / "row.json").write_text('{"name": "a", "count": 1, "share": "0.5", "parts": []}')
    said = refusal(lambda path: read_document(path, Row, "a row", "a_stage"), tmp_path / "row.json")
    assert said.endswith("row.json: not a row (share: Input should be a valid number); run a_stage again")

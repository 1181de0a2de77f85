"""Titles of a dataset folder, and what is said where there are none."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.artifacts.items import read_titles
from ssm4rec.runtime.errors import InputError
from tests.datasets import write_dataset_folder


def write(folder: Path, **columns: list[object]) -> Path:
    """Write items.parquet into a dataset folder of two items."""
    if not folder.exists():
        write_dataset_folder(folder, [[1, 2, 1]])
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "items.parquet")
    return folder


def test_an_item_without_a_title_is_called_by_its_id(tmp_path: Path) -> None:
    folder = write(tmp_path / "dataset", item=[1, 2], item_id=["a", "b"], title=["Heat", None])
    assert read_titles(folder) == ["", "Heat", "b"]


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    folder = write_dataset_folder(tmp_path / "dataset", [[1, 2, 1]])
    for content, words in (
        (None, "no such file; run prepare_data first"),
        (b"no", "not a readable Parquet file"),
        ({"item": [1], "item_id": ["a"]}, "no column 'title'"),
        ({"item": [1], "item_id": [None], "title": ["Heat"]}, "column item_id has missing values"),
        ({"item": [2], "item_id": ["a"], "title": ["Heat"]}, "its items are not 1, 2, ... 1 in this order"),
        ({"item": [1], "item_id": ["a"], "title": ["Heat"]}, "1 items, manifest.json next to it says 2"),
        ({"item": [1], "item_id": ["a"], "title": pyarrow.array([None], pyarrow.string())}, "column title is empty"),
    ):
        if isinstance(content, dict):
            write(folder, **content)
        elif content is None:
            (folder / "items.parquet").unlink()
        else:
            (folder / "items.parquet").write_bytes(content)
        with pytest.raises(InputError, match=words) as raised:
            read_titles(folder)
        assert "\n" not in str(raised.value)
        assert "items.parquet" in str(raised.value)

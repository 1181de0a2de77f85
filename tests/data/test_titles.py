"""Titles of a dataset folder, and what is said where there are none."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.data.dataset import read_titles
from ssm4rec.errors import InputError


def write(folder: Path, **columns: list[object]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "items.parquet")
    return folder


def test_an_item_without_a_title_is_called_by_its_id(tmp_path: Path) -> None:
    folder = write(tmp_path, item=[1, 2], item_id=["a", "b"], title=["Heat", None])
    assert read_titles(folder) == ["", "Heat", "b"]


def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    for content, words in (
        (None, "no such file; run prepare_data first"),
        (b"no", "no Parquet file with item_id and title"),
        ({"item": [1], "item_id": ["a"]}, "no Parquet file with item_id and title"),
        ({"item_id": ["a"], "title": pyarrow.array([None], pyarrow.string())}, "column title is empty"),
    ):
        if isinstance(content, dict):
            write(tmp_path, **content)
        elif content is not None:
            (tmp_path / "items.parquet").write_bytes(content)
        with pytest.raises(InputError, match=words) as raised:
            read_titles(tmp_path)
        assert "\n" not in str(raised.value)
        assert "items.parquet" in str(raised.value)

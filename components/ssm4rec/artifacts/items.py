"""What the source calls the users and items of a dataset folder, and what it says of the items: ``items.parquet``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy
import pyarrow

from ssm4rec.artifacts.codec import read_table, required
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import ITEMS, MANIFEST, SEQUENCES
from ssm4rec.runtime.errors import InputError

_USER_IDS: Final = pyarrow.schema(required(pyarrow.string(), "user_id"))
_ITEM: Final = required(pyarrow.int32(), "item")
_ITEMS: Final = pyarrow.schema([*_ITEM, *required(pyarrow.string(), "item_id"), ("title", pyarrow.string())])
_TEXTS: Final = pyarrow.schema([*_ITEM, ("title", pyarrow.string()), ("words", pyarrow.string())])


def read_items(folder: Path) -> tuple[list[str], list[str | None]]:
    """Return the source's id and the title, or None, of every item; entry i is item i + 1."""
    path = folder / ITEMS
    table = read_table(path, _ITEMS, "the items of a dataset folder", "prepare_data")
    if not numpy.array_equal(table.column("item").to_numpy(), numpy.arange(1, len(table) + 1)):
        raise InputError(f"{path}: its items are not 1, 2, ... {len(table)} in this order; run prepare_data again")
    return table.column("item_id").to_pylist(), table.column("title").to_pylist()


def read_texts(folder: Path) -> list[str]:
    """Return what is said of every item, title and further words, empty where there is nothing; entry i is item i + 1.

    ``folder`` is one of a data set or of a model.
    """
    path = folder / ITEMS
    table = read_table(path, _TEXTS, "the items of a dataset folder", "prepare_data", optional=["words"])
    columns = [table.column(name).to_pylist() for name in table.column_names[1:]]
    return [" ".join(filter(None, texts)).strip() for texts in zip(*columns, strict=True)]


class SourceIds(NamedTuple):
    """What the source calls users 0, 1, ... and items 1, 2, ...: texts."""

    users: pyarrow.Array
    items: pyarrow.Array


def read_source_ids(folder: Path) -> SourceIds:
    """Return the source's ids of a data set's users and items."""
    users = read_table(folder / SEQUENCES, _USER_IDS, "the sequences of a dataset folder", "prepare_data")
    items, _ = read_items(folder)
    _check_count(folder, items)
    text = pyarrow.large_string()  # of all users' candidates together there may be more than 2 GiB
    return SourceIds(users.column("user_id").chunk(0).cast(text), pyarrow.array(items, text))


def _check_count(folder: Path, items: Sequence[Any]) -> None:
    expected = read_manifest(folder)["counts"]["items"]
    if len(items) != expected:
        raise InputError(
            f"{folder / ITEMS}: {len(items)} items, {MANIFEST} next to it says {expected}; run prepare_data again"
        )


def read_titles(folder: Path) -> list[str]:
    """Return the title of every item, entry 0 (padding) empty; an item without one is called by its source's id.

    Raise InputError if no item has a title.
    """
    item_ids, titles = read_items(folder)
    if all(title is None for title in titles):
        raise InputError(
            f"{folder / ITEMS}: column title is empty, and language models read titles; prepare the data with "
            "--items-source, a file of item ids and titles, or leave language models out (--llm none)"
        )
    _check_count(folder, titles)
    return ["", *(item_id if title is None else title for item_id, title in zip(item_ids, titles, strict=True))]

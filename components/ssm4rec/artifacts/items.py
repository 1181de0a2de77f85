"""What the source calls the users and items of a dataset folder, and what it says of the items: ``items.parquet``."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy
import pyarrow

from ssm4rec.artifacts.codec import read_table, required, write_table
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import ITEMS, MANIFEST, SEQUENCES
from ssm4rec.runtime.errors import InputError

_USER_IDS: Final = pyarrow.schema(required(pyarrow.large_string(), "user_id"))
"""Of all users together there may be more than 2 GiB."""
_ITEM: Final = required(pyarrow.int32(), "item")
_ITEMS: Final = pyarrow.schema([*_ITEM, *required(pyarrow.string(), "item_id"), ("title", pyarrow.string())])
_WORDS: Final = pyarrow.field("words", pyarrow.string())


@dataclass(frozen=True)
class Items:
    """What the source calls the items of a catalog, and what it says of them; entry i of each list is item i + 1.

    Attributes:
        path: of their file, for messages.
        words: what is said besides the title, such as genres.
    """

    path: Path
    ids: list[str]
    titles: list[str | None]
    words: list[str | None]

    @cached_property
    def texts(self) -> list[str]:
        """What is said of every item, title and further words, empty where there is nothing."""
        return [" ".join(filter(None, said)).strip() for said in zip(self.titles, self.words, strict=True)]

    def joined(self, others: "Items") -> "Items":
        """Return these items, then those of ``others`` that are not among them; who has no title gets the others'."""
        said = dict(zip(self.ids, zip(self.titles, self.words, strict=True), strict=True))
        for item_id, *other in zip(others.ids, others.titles, others.words, strict=True):
            if not any(said.get(item_id, ())):
                said[item_id] = (other[0], other[1])
        return Items(self.path, [*said], [title for title, _ in said.values()], [words for _, words in said.values()])

    def last(self, count: int) -> "Items":
        """Return the last ones."""
        first = len(self.ids) - count
        return Items(self.path, self.ids[first:], self.titles[first:], self.words[first:])

    def write(self, path: Path) -> None:
        """Write ``items.parquet``."""
        columns = [pyarrow.array(range(1, len(self.ids) + 1), pyarrow.int32()), self.ids, self.titles]
        schema = _ITEMS
        if any(self.words):
            columns, schema = [*columns, self.words], schema.append(_WORDS)
        write_table(path, pyarrow.table(columns, schema=schema))


def read_items(folder: Path) -> Items:
    """Return the items of a folder of a data set or of a model."""
    path = folder / ITEMS
    table = read_table(path, _ITEMS.append(_WORDS), "the items of a dataset folder", "prepare_data", ["words"])
    ids, titles = table.column("item_id").to_pylist(), table.column("title").to_pylist()
    if not numpy.array_equal(table.column("item").to_numpy(), numpy.arange(1, len(table) + 1)):
        raise InputError(f"{path}: its items are not 1, 2, ... {len(table)} in this order; run prepare_data again")
    if len({*ids}) < len(ids):
        raise InputError(f"{path}: several items have one item_id; run prepare_data again")
    words = table.column("words").to_pylist() if "words" in table.column_names else [None] * len(ids)
    return Items(path, ids, titles, words)


class SourceIds(NamedTuple):
    """What the source calls users 0, 1, ... and items 1, 2, ...: texts."""

    users: pyarrow.Array
    items: pyarrow.Array


def read_source_ids(folder: Path) -> SourceIds:
    """Return the source's ids of a data set's users and items."""
    users = read_table(folder / SEQUENCES, _USER_IDS, "the sequences of a dataset folder", "prepare_data")
    items = read_items(folder).ids
    _check_count(folder, items)
    return SourceIds(users.column("user_id").chunk(0), pyarrow.array(items, pyarrow.large_string()))


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
    items = read_items(folder)
    item_ids, titles = items.ids, items.titles
    if all(title is None for title in titles):
        raise InputError(
            f"{folder / ITEMS}: column title is empty, and language models read titles; prepare the data with "
            "--items-source, a file of item ids and titles, or leave language models out (--llm none)"
        )
    _check_count(folder, titles)
    return ["", *(item_id if title is None else title for item_id, title in zip(item_ids, titles, strict=True))]

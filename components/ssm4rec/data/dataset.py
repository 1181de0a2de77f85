"""The dataset folder, and its sequences as training and evaluation read them.

A dataset folder holds, for U users and V items:

- ``sequences.parquet``, one row a user (row number = user), in one row group:
  ``user_id`` string; ``items`` list<int32>, the user's items 1..V in time order; and where the splits lie in it:
  ``train_length`` int32, the first ``train_length`` items are for training; ``validation_position`` and
  ``test_position`` int32, the place of the target in ``items`` (-1: the user is not in that split).
  A target's history is everything before it: ``items[:position]``.
  The file's metadata carries the dataset's name and fingerprint.
- ``interactions.parquet``, the same events one a row in the same order: ``user`` int32 0..U-1, ``item`` int32,
  ``time`` int64 (milliseconds since 1970, or the source's own order number), ``rating`` float32 or null.
- ``items.parquet``: ``item`` int32 1..V, ``item_id`` string (the source's), ``title`` string or null.
- ``manifest.json``: source, checksums, every filter with the counts before and after, counts, splits, fingerprint.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy
import pyarrow
import pyarrow.parquet

from ssm4rec.contracts import INTERACTIONS, ITEMS, LEAVE_ONE_OUT, MANIFEST, SEQUENCES
from ssm4rec.errors import InputError
from ssm4rec.files import read_json

Int32s = numpy.ndarray[tuple[int], numpy.dtype[numpy.int32]]
Int64s = numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]
Float32s = numpy.ndarray[tuple[int], numpy.dtype[numpy.float32]]
Split = Literal["validation", "test"]

FINGERPRINT_KEY: Final = b"ssm4rec.fingerprint"
DATASET_KEY: Final = b"ssm4rec.dataset"


@dataclass(frozen=True)
class SequenceDataset:
    """All users' item sequences as views of one Arrow buffer.

    Attributes:
        name: the dataset's name.
        fingerprint: identifies the sequences and the splits; models remember it.
        item_count: V; item ids run from 1 to V, 0 is padding.
        items: all sequences one after the other.
        offsets: user u owns ``items[offsets[u]:offsets[u + 1]]``, shape (U + 1,).
        train_length, validation_position, test_position: see the module's description, shape (U,).
    """

    name: str
    fingerprint: str
    item_count: int
    items: Int32s
    offsets: Int64s
    train_length: Int32s
    validation_position: Int32s
    test_position: Int32s

    @property
    def user_count(self) -> int:
        """U, the number of users."""
        return len(self.train_length)

    def position(self, split: Split) -> Int32s:
        """Return the target's place in each user's sequence, -1 for users that are not in ``split``."""
        return self.validation_position if split == "validation" else self.test_position

    def trained_to_validation(self) -> "SequenceDataset":
        """Return the same data with every validation target among the training items."""
        reached = numpy.maximum(self.train_length, self.validation_position + 1)
        return replace(self, train_length=reached)

    def training_counts(self) -> Int64s:
        """Return the number of training interactions of each item, shape (V + 1,); entry 0 (padding) is 0."""
        lengths = numpy.diff(self.offsets)
        place = numpy.arange(len(self.items)) - numpy.repeat(self.offsets[:-1], lengths)
        in_training = place < numpy.repeat(self.train_length, lengths)
        return numpy.bincount(self.items[in_training], minlength=self.item_count + 1)


def fingerprint(items: Int32s, offsets: Int64s, *positions: Int32s) -> str:
    """Return a SHA-256 over the sequences and split positions, the same on every machine."""
    digest = hashlib.sha256()
    for array, kind in ((items, "<i4"), (offsets, "<i8"), *((position, "<i4") for position in positions)):
        digest.update(numpy.ascontiguousarray(array, dtype=kind).tobytes())
    return digest.hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a dataset folder's manifest."""
    manifest: dict[str, Any] = read_json(folder / MANIFEST)
    return manifest


def titled(manifest: dict[str, Any]) -> str:
    """Return what a person calls a dataset folder: the data set, and how it is split where that is not the usual way.

    >>> titled({"dataset": "ml-1m", "split": {"name": "global-time"}})
    'ml-1m global-time'
    """
    split = manifest["split"]["name"]
    return str(manifest["dataset"]) if split == LEAVE_ONE_OUT else f"{manifest['dataset']} {split}"


def read_sequences(folder: Path) -> SequenceDataset:
    """Read the sequences of a dataset folder.

    Raises:
        InputError: a file is missing or unreadable, or sequences and manifest are from two datasets.
    """
    manifest = read_manifest(folder)
    path = folder / SEQUENCES
    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run prepare_data first") from None
    except (pyarrow.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); run prepare_data again") from None
    stored = (table.schema.metadata or {}).get(FINGERPRINT_KEY, b"").decode()
    if stored != manifest.get("fingerprint"):
        raise InputError(
            f"{path}: belongs to another dataset than {MANIFEST} beside it "
            f"(fingerprint {stored[:12] or 'missing'}, manifest {str(manifest.get('fingerprint'))[:12]}); "
            "run prepare_data again"
        )
    table = table.combine_chunks()
    lists = table.column("items").chunk(0)

    def column(name: str) -> Int32s:
        values: Int32s = table.column(name).chunk(0).to_numpy()
        return values

    return SequenceDataset(
        name=manifest["dataset"],
        fingerprint=stored,
        item_count=manifest["counts"]["items"],
        items=lists.flatten().to_numpy(),
        offsets=lists.offsets.to_numpy().astype(numpy.int64),
        train_length=column("train_length"),
        validation_position=column("validation_position"),
        test_position=column("test_position"),
    )


def read_items(folder: Path) -> tuple[list[str], list[str | None]]:
    """Return the source's id and the title, or None, of every item; entry i is item i + 1.

    Raises:
        InputError: the file is missing or unreadable.
    """
    path = folder / ITEMS
    try:
        table = pyarrow.parquet.read_table(path, columns=["item_id", "title"])
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run prepare_data first") from None
    except (pyarrow.ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: no Parquet file with item_id and title ({reason}); run prepare_data again") from None
    return table.column("item_id").to_pylist(), table.column("title").to_pylist()


def read_titles(folder: Path) -> list[str]:
    """Return the title of every item, entry 0 (padding) empty; an item without one is called by its source's id.

    Raises:
        InputError: the file is missing or unreadable, or no item has a title.
    """
    item_ids, titles = read_items(folder)
    if all(title is None for title in titles):
        raise InputError(
            f"{folder / ITEMS}: column title is empty, and language models read titles; prepare the data with "
            "--items-source, a file of item ids and titles, or leave language models out (--llm none)"
        )
    return ["", *(item_id if title is None else title for item_id, title in zip(item_ids, titles, strict=True))]


def read_ratings(folder: Path, dataset: SequenceDataset) -> Float32s:
    """Return the rating of every event in the order of ``dataset.items``, NaN where there is none.

    Raises:
        InputError: interactions.parquet is missing or unreadable, or its events are not those of ``dataset``.
    """
    path = folder / INTERACTIONS
    try:
        table = pyarrow.parquet.read_table(path, columns=["item", "rating"])
        ratings: Float32s = table.column("rating").cast(pyarrow.float32()).to_numpy()
        items = table.column("item").to_numpy()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run prepare_data again") from None
    except (KeyError, pyarrow.ArrowException, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{path}: not readable interactions ({reason}); run prepare_data again") from None
    if not numpy.array_equal(items, dataset.items):
        raise InputError(f"{path}: its events are not those of {SEQUENCES} beside it; run prepare_data again")
    return ratings

"""The dataset folder, and its sequences as training and evaluation read them.

A dataset folder holds, for U users and V items:

- ``sequences.parquet``, one row per user (row number = user). A row group has up to 2^24 events, or one user with more.
  It has ``user_id`` string; ``items`` list<int32>, the user's items 1..V in time order; and where the splits lie:
  ``train_length`` int32, the first ``train_length`` items are for training; ``validation_position`` and
  ``test_position`` int32, the place of the first target in ``items`` (-1: the user is not in that split);
  ``validation_targets`` and ``test_targets`` int32, how many items from there on are targets (0: not in that split,
  1: all others, but for ``--splitting global-time --time-target successive``).
  A target's history is everything before it: ``items[:position]``.
  The file's metadata carries the dataset's name and fingerprint.
- ``interactions.parquet``, the same events, one per row, in the same order: ``user`` int32 0..U-1, ``item`` int32,
  ``time`` int64 (milliseconds since 1970, or the source's own order number), ``rating`` float32 or null.
- ``items.parquet``: ``item`` int32 1..V, ``item_id`` string (the source's), ``title`` string or null; where the source
  says more of the items, ``words`` string or null, such as genres.
- ``manifest.json``: source, checksums, every filter with the counts before and after, counts, splits, fingerprint.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy
import pyarrow

from ssm4rec.artifacts.codec import read_blocks, read_head, required, text_of
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import MANIFEST, SEQUENCES
from ssm4rec.artifacts.user_blocks import BLOCK_EVENTS, training_flags, user_blocks
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.large_arrays import IN_MEMORY, joined

Int32s = numpy.ndarray[tuple[int], numpy.dtype[numpy.int32]]
Int64s = numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]
Float32s = numpy.ndarray[tuple[int], numpy.dtype[numpy.float32]]
Flags = numpy.ndarray[tuple[int], numpy.dtype[numpy.bool_]]
Split = Literal["validation", "test"]

FINGERPRINT_KEY: Final = b"ssm4rec.fingerprint"
DATASET_KEY: Final = b"ssm4rec.dataset"

SPLIT_COLUMNS: Final = ("train_length", "validation_position", "validation_targets", "test_position", "test_targets")
_SCHEMA: Final = [*required(pyarrow.list_(pyarrow.int32()), "items"), *required(pyarrow.int32(), *SPLIT_COLUMNS)]
_SEQUENCES: Final = (pyarrow.schema(_SCHEMA), "the sequences of a dataset folder", "prepare_data")


@dataclass(frozen=True)
class SequenceDataset:
    """All users' item sequences.

    Attributes:
        fingerprint: identifies the sequences and the splits; models remember it.
        item_count: V; item ids run from 1 to V, 0 is padding.
        items: all sequences one after the other, read-only; of a large data set they lie in a file.
        offsets: user u owns ``items[offsets[u]:offsets[u + 1]]``, shape (U + 1,).
        train_length, validation_position, validation_targets, test_position, test_targets: see the module's
            description, shape (U,).
    """

    name: str
    fingerprint: str
    item_count: int
    items: Int32s
    offsets: Int64s
    train_length: Int32s
    validation_position: Int32s
    validation_targets: Int32s
    test_position: Int32s
    test_targets: Int32s

    @property
    def metadata(self) -> dict[bytes, bytes]:
        """What a table that was made of it says of it."""
        return {DATASET_KEY: self.name.encode(), FINGERPRINT_KEY: self.fingerprint.encode()}

    @property
    def user_count(self) -> int:
        """U, the number of users."""
        return len(self.train_length)

    def position(self, split: Split) -> Int32s:
        """Return the first target's place in each user's sequence, -1 for users that are not in ``split``."""
        return self.validation_position if split == "validation" else self.test_position

    def target_counts(self, split: Split) -> Int32s:
        """Return the number of each user's targets, 0 for users that are not in ``split``."""
        return self.validation_targets if split == "validation" else self.test_targets

    def targets(self, split: Split) -> tuple[Int64s, Int64s]:
        """Return the user of each target of ``split``, ascending, and its place in the user's sequence, each (T,)."""
        return target_places(self.position(split), self.target_counts(split))

    def trained_to_validation(self) -> "SequenceDataset":
        """Return the same data with every validation target among the training items."""
        reached = numpy.maximum(self.train_length, self.validation_position + self.validation_targets)
        return replace(self, train_length=reached)

    def of_users(self, share: float) -> "SequenceDataset":
        """Return the same data with the training items of a share of the users, at least one, and no others'.

        Who they are depends on the share and the number of users alone, and the users of a smaller share are among
        those of a larger one. Targets stay as they are.
        """
        order = numpy.random.default_rng(0).permutation(self.user_count)
        left_out = order[max(1, round(share * self.user_count)) :]
        kept = self.train_length.copy()
        kept[left_out] = 0
        return replace(self, train_length=kept)

    def trained(self) -> Flags:
        """Return which of ``items`` are for training."""
        return training_flags(numpy.diff(self.offsets), self.train_length)

    def blocks(self, events: int | None = None) -> Iterator[slice]:
        """Yield the users as ``user_blocks`` does, of a million events at a time: what is made of all takes room."""
        return user_blocks(self.offsets, events or BLOCK_EVENTS)

    def part(self, users: slice) -> "SequenceDataset":
        """Return the data of users who follow one another, of a block, as views."""
        offsets = self.offsets[users.start : users.stop + 1]
        own = {name: getattr(self, name)[users] for name in SPLIT_COLUMNS}
        return replace(self, items=self.items[offsets[0] : offsets[-1]], offsets=offsets - offsets[0], **own)

    def parts(self, events: int | None = None) -> Iterator["SequenceDataset"]:
        """Yield the data of all users, a block at a time."""
        return map(self.part, self.blocks(events))

    def training_alone(self) -> "SequenceDataset":
        """Return the training items alone: the last one of each user who has others is a validation target.

        Whatever is made of it cannot depend on an item that is held out.
        """
        last = numpy.where(self.train_length >= 2, self.train_length - 1, numpy.int32(-1))
        nobody = numpy.zeros_like(last)
        trained = (part.items[part.trained()] for part in self.parts())
        count = int(self.train_length.sum(dtype=numpy.int64))
        return replace(
            self,
            items=joined(trained, numpy.int32, count, f"the training items of {self.name}"),
            offsets=numpy.concatenate([[0], self.train_length.cumsum(dtype=numpy.int64)]),
            train_length=numpy.where(last > 0, last, self.train_length),
            validation_position=last,
            validation_targets=(last > 0).astype(numpy.int32),
            test_position=nobody - 1,
            test_targets=nobody,
        )

    def training_counts(self) -> Int64s:
        """Return the number of training interactions of each item, shape (V + 1,); entry 0 (padding) is 0."""
        counts = numpy.zeros(self.item_count + 1, dtype=numpy.int64)
        for part in self.parts():
            counts += numpy.bincount(part.items[part.trained()], minlength=len(counts))
        return counts


def target_places(first: Int32s | Int64s, number: Int32s | Int64s) -> tuple[Int64s, Int64s]:
    """Return the user and the place of each target, users ascending, each (T,).

    A user's targets follow one another; ``first`` is the place of the first, -1 for none, and both are (U,).

    >>> target_places(numpy.array([2, -1, 5]), numpy.array([1, 0, 3]))
    (array([0, 2, 2, 2]), array([2, 5, 6, 7]))
    """
    users = numpy.repeat(numpy.arange(len(first)), number)
    earlier = numpy.concatenate([[0], numpy.cumsum(number)])[:-1]  # targets of the users before
    places: Int64s = first[users] + numpy.arange(len(users)) - earlier[users]
    return users, places


def fingerprint(items: Int32s, offsets: Int64s, train_length: Int32s, targets: Sequence[tuple[Int32s, Int32s]]) -> str:
    """Return a SHA-256 over the sequences and the targets' places, the same on every machine.

    Arguments are as in :class:`SequenceDataset`; ``targets`` are position and number of validation and test targets.
    """
    digest = hashlib.sha256()
    positions = [first for first, _ in targets]
    # Where every user has one target, or none, the positions say it all.
    numbers = [number for _, number in targets] if any((number > 1).any() for _, number in targets) else []
    # The arrays' own memory, not a copy of it: items may be larger than what this process can hold.
    digest.update(numpy.ascontiguousarray(items, dtype="<i4").data)
    digest.update(numpy.ascontiguousarray(offsets, dtype="<i8").data)
    for places in (train_length, *positions, *numbers):
        digest.update(numpy.ascontiguousarray(places, dtype="<i4").data)
    return digest.hexdigest()


def check_trained_on(folder: Path, config: Mapping[str, Any], dataset: SequenceDataset, way_out: str) -> None:
    """Raise InputError unless what a folder holds was trained on ``dataset``: its config names another fingerprint."""
    if config["fingerprint"] != dataset.fingerprint:
        raise InputError(
            f"{folder}: trained on {config['dataset']} ({config['fingerprint'][:12]}), but the data set given is "
            f"{dataset.name} ({dataset.fingerprint[:12]}); {way_out}"
        )


def check_made_of(path: Path, metadata: dict[bytes, bytes] | None, dataset: SequenceDataset, what: str) -> None:
    """Raise InputError unless a table's metadata says that it was made of ``dataset``."""
    name, stored = text_of(metadata, DATASET_KEY), text_of(metadata, FINGERPRINT_KEY)
    if stored != dataset.fingerprint:
        raise InputError(
            f"{path}: {what} of another data set, {name or 'unnamed'} ({stored[:12] or 'no fingerprint'}), than "
            f"{dataset.name} ({dataset.fingerprint[:12]}); take files of one data set"
        )


def mapped_bytes(folder: Path) -> int:
    """Return how much of TMPDIR the items of a dataset folder take in each process that reads them, 0: they take none.

    Raise InputError if it is no dataset folder.
    """
    events: int = read_manifest(folder)["counts"]["interactions"]
    return events * numpy.dtype(numpy.int32).itemsize if events > IN_MEMORY else 0


def read_sequences(folder: Path) -> SequenceDataset:
    """Read the sequences of a dataset folder; raise InputError if they are none, or not those of its manifest.

    Items of more than ``IN_MEMORY`` events lie in a file of TMPDIR (``runtime/large_arrays.py``).
    """
    return _read_sequences(folder, IN_MEMORY)


def _read_sequences(folder: Path, in_memory: int) -> SequenceDataset:
    manifest = read_manifest(folder)
    path, counts = folder / SEQUENCES, manifest["counts"]
    many = counts["interactions"] > in_memory
    metadata, users = read_head(path, *_SEQUENCES)
    stored, expected = text_of(metadata, FINGERPRINT_KEY), manifest["fingerprint"]
    if stored != expected:
        raise InputError(
            f"{path}: belongs to another dataset than {MANIFEST} next to it (fingerprint "
            f"{stored[:12] or 'missing'}, manifest {expected[:12]}); run prepare_data again"
        )
    if users != counts["users"]:
        raise InputError(f"{path}: {users} users, {_says(counts['users'])}; run prepare_data again")
    users_at_once = max(1, BLOCK_EVENTS * users // counts["interactions"]) if many else None
    offsets = numpy.zeros(users + 1, dtype=numpy.int64)
    columns = {name: numpy.empty(users, dtype=numpy.int32) for name in SPLIT_COLUMNS}
    read = 0

    def items() -> Iterator[Int32s]:
        nonlocal read
        for block in read_blocks(path, *_SEQUENCES, users_at_once):
            start, read = read, read + len(block)
            lists = block.column("items").chunk(0)
            offsets[start + 1 : read + 1] = numpy.diff(lists.offsets.to_numpy())
            for name, found in columns.items():
                found[start:read] = block.column(name).to_numpy()
            yield lists.flatten().to_numpy()

    every_item = joined(items(), numpy.int32, counts["interactions"], f"the items of {path}", in_memory)
    dataset = SequenceDataset(
        name=manifest["dataset"],
        fingerprint=manifest["fingerprint"],
        item_count=counts["items"],
        items=every_item,
        offsets=offsets.cumsum(out=offsets),
        **columns,
    )
    if wrong := _wrong(dataset, counts):
        raise InputError(f"{path}: {wrong}; run prepare_data again")
    return dataset


def _says(count: int) -> str:
    return f"{MANIFEST} next to it says {count}"


def _wrong(dataset: SequenceDataset, counts: dict[str, int]) -> str:
    """Return what the sequences of a data set cannot be, or nothing."""
    if (found := len(dataset.items)) != counts["interactions"]:
        return f"{found} interactions, {_says(counts['interactions'])}"
    for users in dataset.blocks():
        if wrong := _wrong_row(dataset.part(users), users.start):
            return wrong
    smallest, largest = int(dataset.items.min()), int(dataset.items.max())
    if smallest < 1 or largest != dataset.item_count:
        return f"items are {smallest}..{largest}, not 1..{dataset.item_count} as {MANIFEST} next to it says"
    targets = [
        (dataset.validation_position, dataset.validation_targets),
        (dataset.test_position, dataset.test_targets),
    ]
    if fingerprint(dataset.items, dataset.offsets, dataset.train_length, targets) != dataset.fingerprint:
        return f"not the sequences of its fingerprint {dataset.fingerprint[:12]}, it was changed after it was written"
    return ""


def _wrong_row(dataset: SequenceDataset, before: int) -> str:
    """Return what one of these users, who come after others in the file, cannot be, or nothing."""
    lengths, train_length = numpy.diff(dataset.offsets), dataset.train_length
    at_fault = [
        (lengths < 1, "no items"),
        ((train_length < 0) | (train_length > lengths), "a train_length outside the sequence"),
    ]
    for name in ("validation", "test"):
        first, number = getattr(dataset, f"{name}_position"), getattr(dataset, f"{name}_targets")
        at_fault.append(((first < -1) | (first >= lengths), f"a {name}_position outside the sequence"))
        last = first.astype(numpy.int64) + number
        at_fault.append(((number < 0) | (last > lengths), f"{name}_targets outside the sequence"))
        at_fault.append(((first < 0) != (number == 0), f"{name}_targets that do not fit {name}_position"))
    for rows, what in at_fault:
        if rows.any():
            return f"row {before + rows.argmax()} has {what}"
    return ""

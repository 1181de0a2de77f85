"""manifest.json of a dataset folder, as far as later stages read it; what else it says is kept as it is."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from ssm4rec.artifacts.codec import Count, Number, Positive, Share, read_document
from ssm4rec.artifacts.names import LEAVE_ONE_OUT, MANIFEST
from ssm4rec.runtime.files import read_json

Milliseconds = Annotated[int, Field(ge=-62_135_596_800_000, lt=253_402_300_800_000)]
"""Since 1970, in the years 1 to 9999."""


class Counts(TypedDict):
    """Of a data set."""

    users: Positive
    items: Positive
    interactions: Positive


class Source(TypedDict):
    """A file that the data came from."""

    address: str
    file: str
    bytes: Count
    md5: str
    checksum: str


class Filter(TypedDict):
    """What a filter left."""

    filter: str
    setting: Any
    before: Counts
    after: Counts


class _Split(TypedDict):
    training_interactions: Count
    validation_users: Count
    validation_targets: Count
    test_users: Count
    test_targets: Count
    test_targets_unseen_in_training: Count


class LeaveOneOut(_Split):
    """Each user's last two items are targets."""

    name: Literal["leave-one-out"]


class GlobalTime(_Split):
    """Targets lie after two moments, the same for all users."""

    name: Literal["global-time"]
    time_target: Literal["successive", "last", "random", "first"]
    validation_from: Milliseconds
    test_from: Milliseconds


class NoSplit(TypedDict):
    """Of data that were not prepared."""

    name: str


class EventOrder(TypedDict):
    """In which order events stand, and what hangs on it: ``data/event_order.py``."""

    name: Literal["exact", "recbole", "random-ties"]
    neighbours_that_tie: Share
    pairs_in_one_order: Share | None
    targets_in_ties: Share
    targets_that_repeat: Share


class Lengths(TypedDict):
    """Of the users' sequences."""

    mean: Number
    median: Number
    maximum: Positive


class Manifest(TypedDict):
    """Of prepared data."""

    dataset: str
    fingerprint: str
    sources: list[Source]
    counts: Counts
    split: Annotated[LeaveOneOut | GlobalTime, Field(discriminator="name")]
    event_order: EventOrder
    settings: dict[str, Any]
    filters: list[Filter]
    recbole_counts: Counts
    sequence_length: Lengths


class Nothing(TypedDict):
    """Of data that nothing wanted and that were not prepared."""

    dataset: str
    fingerprint: Literal[""]
    split: NoSplit


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a dataset folder's manifest; raise InputError if it is missing or not one."""
    path = folder / MANIFEST
    document: dict[str, Any] = read_json(path)
    empty = isinstance(document, dict) and document.get("fingerprint") == ""
    kind: Any = Nothing if empty else Manifest
    read_document(path, kind, "the manifest of a dataset folder", "prepare_data")  # checks it, and keeps less of it
    return document


def display_name(manifest: dict[str, Any]) -> str:
    """Return what a person calls a dataset folder: the data set, and how it is split where that is not the usual way.

    >>> display_name({"dataset": "ml-1m", "split": {"name": "global-time"}})
    'ml-1m global-time'
    """
    split = manifest["split"]["name"]
    return str(manifest["dataset"]) if split == LEAVE_ONE_OUT else f"{manifest['dataset']} {split}"

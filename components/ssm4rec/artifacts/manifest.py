"""manifest.json of a dataset folder, as far as later stages read it; what else it says is kept as it is."""

from pathlib import Path
from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from ssm4rec.artifacts.codec import Count, Number, Positive, Share, read_document, read_made
from ssm4rec.artifacts.names import LEAVE_ONE_OUT, MANIFEST
from ssm4rec.runtime.errors import InputError

_MADE_BY: Final = "prepare_data"

Milliseconds = Annotated[int, Field(ge=-62_135_596_800_000, lt=253_402_300_800_000)]
"""Since 1970, in the years 1 to 9999."""


class _Counts(TypedDict):
    users: Positive
    items: Positive
    interactions: Positive


class _Source(TypedDict):
    address: str
    file: str
    bytes: Count
    md5: str
    checksum: str


class _Filter(TypedDict):
    filter: str
    setting: Any
    before: _Counts
    after: _Counts


class _Split(TypedDict):
    training_interactions: Count
    validation_users: Count
    validation_targets: Count
    test_users: Count
    test_targets: Count
    test_targets_unseen_in_training: Count


class _LeaveOneOut(_Split):
    name: Literal["leave-one-out"]


class _GlobalTime(_Split):
    name: Literal["global-time"]
    time_target: Literal["successive", "last", "random", "first"]
    validation_from: Milliseconds
    test_from: Milliseconds


class _NoSplit(TypedDict):
    name: str


class _EventOrder(TypedDict):
    name: Literal["exact", "recbole", "random-ties"]
    neighbours_that_tie: Share
    pairs_in_one_order: Share | None
    targets_in_ties: Share
    targets_that_repeat: Share


class _Lengths(TypedDict):
    mean: Number
    median: Number
    maximum: Positive


class _Manifest(TypedDict):
    dataset: str
    fingerprint: str
    sources: list[_Source]
    counts: _Counts
    split: Annotated[_LeaveOneOut | _GlobalTime, Field(discriminator="name")]
    event_order: _EventOrder
    settings: dict[str, Any]
    filters: list[_Filter]
    recbole_counts: _Counts
    sequence_length: _Lengths
    irreducible_loss: NotRequired[Annotated[Number, Field(gt=0)]]  # nats per test target, of generated data


class _Nothing(TypedDict):
    """Of data that nothing wanted and that were not prepared."""

    dataset: str
    fingerprint: Literal[""]
    split: _NoSplit


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read a dataset folder's manifest; raise InputError if it is missing or not one."""
    path = folder / MANIFEST
    document: dict[str, Any] = read_made(path, _MADE_BY)
    empty = isinstance(document, dict) and document.get("fingerprint") == ""
    kind: Any = _Nothing if empty else _Manifest
    read_document(path, kind, "the manifest of a dataset folder", _MADE_BY)  # checks it, and keeps less of it
    return document


def manifest_of(folder: Path | None, dataset: str) -> dict[str, Any] | None:
    """Read the manifest of the data set of that name, None without a folder; raise InputError if it is of another."""
    if folder is None:
        return None
    manifest = read_manifest(folder)
    if manifest["dataset"] != dataset:
        raise InputError(f"{folder}: the data are {manifest['dataset']}, the trainings are of {dataset}; give theirs")
    return manifest


def display_name(manifest: dict[str, Any]) -> str:
    """Return what a person calls a dataset folder: the data set, and how it is split where that is not the usual way.

    >>> display_name({"dataset": "ml-1m", "split": {"name": "global-time"}})
    'ml-1m global-time'
    """
    split = manifest["split"]["name"]
    return str(manifest["dataset"]) if split == LEAVE_ONE_OUT else f"{manifest['dataset']} {split}"


def data_labels(manifest: dict[str, Any]) -> dict[str, str]:
    """Return what of a dataset folder tells two results of one model apart."""
    return {
        "dataset": manifest["dataset"],
        "splitting": manifest["split"]["name"],
        "event_order": manifest["event_order"]["name"],
    }


def run_name(model: str, manifest: dict[str, Any], seed: int, stage: str = "", label: str = "") -> str:
    """Return what a tracked run of a model is called: only what tells a study's runs apart, as MLflow shows 20 letters.

    ``stage`` is "" for test results, which people look for; the data set and the rest are parameters of the run.

    >>> run_name("sasrec", {"split": {"name": "leave-one-out"}}, 0)
    'sasrec s0'
    >>> run_name("sasrec", {"split": {"name": "global-time"}}, 0, "train", "window50")
    'sasrec window50 s0 global-time train'
    """
    splitting = str(manifest["split"]["name"])
    parts = (model.removeprefix("wheel:"), label, f"s{seed}", "" if splitting == LEAVE_ONE_OUT else splitting, stage)
    return " ".join(filter(None, parts))

"""Writes the dataset folder that ``artifacts/dataset.py`` describes and reads."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy
import polars
import pyarrow
import pyarrow.parquet

from ssm4rec.artifacts.dataset import DATASET_KEY, FINGERPRINT_KEY, SPLIT_COLUMNS, fingerprint
from ssm4rec.artifacts.names import INTERACTIONS, ITEMS, MANIFEST, SEQUENCES
from ssm4rec.artifacts.user_blocks import GROUP_EVENTS, training_flags, user_blocks
from ssm4rec.data.sequences import Sequences
from ssm4rec.data.splitting import Split, tested_places
from ssm4rec.runtime.files import write_json

_SCHEMA: Final = pyarrow.schema(
    [
        ("user_id", pyarrow.string()),
        ("items", pyarrow.list_(pyarrow.int32())),
        *((name, pyarrow.int32()) for name in SPLIT_COLUMNS),
    ]
)
"""Of the sequences."""


def collect_titles(item_ids: polars.Series, titles: Iterable[polars.DataFrame]) -> polars.DataFrame:
    """Return ``title``, and ``words`` where the frames have them, or null of each item that survived the filters.

    No other item's is kept in memory.

    ``titles``: frames with ``item_id``, ``title`` and, all or none, ``words``; the row of an item's first title counts,
    empty ones do not.
    """
    wanted = polars.DataFrame({"item_id": item_ids})
    named = polars.col("title").str.strip_chars() != ""
    found = [frame.filter(named).join(wanted, on="item_id", how="semi") for frame in titles]
    if not found:
        return polars.DataFrame({"title": [None] * len(item_ids)}, {"title": polars.String})
    first = polars.concat(found).unique("item_id", keep="first", maintain_order=True)
    return wanted.join(first, on="item_id", how="left", maintain_order="left").drop("item_id")


def write_dataset(
    folder: Path, name: str, sequences: Sequences, split: Split, titles: polars.DataFrame, manifest: dict[str, Any]
) -> dict[str, Any]:
    """Write the four files into an existing folder, and return the manifest as written.

    ``titles`` are those that :func:`collect_titles` found; ``manifest``: what the caller knows: sources, settings,
    filters, split name; counts are added here.
    """
    targets = [(split.validation_position, split.validation_targets), (split.test_position, split.test_targets)]
    mark = fingerprint(sequences.items, sequences.offsets, split.train_length, targets)
    metadata = {FINGERPRINT_KEY: mark, DATASET_KEY: name}
    _write_sequences(folder / SEQUENCES, sequences, split, metadata, GROUP_EVENTS)
    events = {"user": sequences.users, "item": sequences.items, "time": sequences.times}
    interactions = pyarrow.table({**events, "rating": sequences.ratings.to_arrow()})
    pyarrow.parquet.write_table(interactions, folder / INTERACTIONS)
    items = pyarrow.table(
        {
            "item": numpy.arange(1, len(sequences.item_ids) + 1, dtype=numpy.int32),
            "item_id": sequences.item_ids.to_arrow().cast(pyarrow.string()),
            **{name: titles[name].to_arrow().cast(pyarrow.string()) for name in titles.columns},
        }
    )
    pyarrow.parquet.write_table(items, folder / ITEMS)
    counts = {"users": len(sequences.user_ids), "items": len(sequences.item_ids), "interactions": len(sequences.items)}
    lengths = numpy.diff(sequences.offsets)
    manifest = {
        "dataset": name,
        "fingerprint": mark,
        **manifest,
        "counts": counts,
        # RecBole counts its padding user and item; the paper's Table 4 is in this counting.
        "recbole_counts": {**counts, "users": counts["users"] + 1, "items": counts["items"] + 1},
        "split": {**manifest["split"], **_split_counts(sequences, split), **split.facts},
        "titles": titles["title"].count(),
        "sequence_length": {
            "mean": round(float(lengths.mean()), 2),
            "median": float(numpy.median(lengths)),
            "maximum": int(lengths.max()),
        },
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def _write_sequences(
    path: Path, sequences: Sequences, split: Split, metadata: dict[bytes, str], group_events: int
) -> None:
    with pyarrow.parquet.ParquetWriter(path, _SCHEMA.with_metadata(metadata)) as file:
        for users in user_blocks(sequences.offsets, group_events):
            group = _row_group(sequences, split, users)
            file.write_table(group, row_group_size=len(group))


def _row_group(sequences: Sequences, split: Split, users: slice) -> pyarrow.Table:
    # Arrow's places in a list's items have 32 bits: they count from the group's first event.
    offsets = sequences.offsets[users.start : users.stop + 1]
    events = sequences.items[offsets[0] : offsets[-1]]
    lists = pyarrow.ListArray.from_arrays((offsets - offsets[0]).astype(numpy.int32), events)
    ids = sequences.user_ids.slice(users.start, users.stop - users.start).to_arrow().cast(pyarrow.string())
    columns = [ids, lists, *(getattr(split, name)[users] for name in SPLIT_COLUMNS)]
    return pyarrow.table(columns, _SCHEMA)


def _split_counts(sequences: Sequences, split: Split) -> dict[str, int]:
    trained = numpy.zeros(len(sequences.item_ids) + 1, dtype=bool)
    trained[sequences.items[training_flags(numpy.diff(sequences.offsets), split.train_length)]] = True
    targets = sequences.items[tested_places(sequences.offsets, split)]
    return {
        "training_interactions": int(split.train_length.sum()),
        "validation_users": int((split.validation_position >= 0).sum()),
        "validation_targets": int(split.validation_targets.sum()),
        "test_users": int((split.test_position >= 0).sum()),
        "test_targets": len(targets),
        "users_without_evaluation": int(((split.validation_position < 0) & (split.test_position < 0)).sum()),
        "test_targets_unseen_in_training": int((~trained[targets]).sum()),
    }

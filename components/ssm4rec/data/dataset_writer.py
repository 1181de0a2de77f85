"""Writes the dataset folder that ``artifacts/dataset.py`` describes and reads."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy
import polars
import pyarrow
import pyarrow.parquet

from ssm4rec.artifacts.dataset import DATASET_KEY, FINGERPRINT_KEY, fingerprint
from ssm4rec.artifacts.names import INTERACTIONS, ITEMS, MANIFEST, SEQUENCES
from ssm4rec.data.sequences import Sequences
from ssm4rec.data.splitting import Split, tested_places
from ssm4rec.runtime.files import write_json


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
    _write_sequences(folder / SEQUENCES, sequences, split, {FINGERPRINT_KEY: mark, DATASET_KEY: name})
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


def _write_sequences(path: Path, sequences: Sequences, split: Split, metadata: dict[bytes, str]) -> None:
    items = pyarrow.ListArray.from_arrays(sequences.offsets.astype(numpy.int32), sequences.items)
    table = pyarrow.table(
        {
            "user_id": sequences.user_ids.to_arrow().cast(pyarrow.string()),
            "items": items,
            "train_length": split.train_length,
            "validation_position": split.validation_position,
            "validation_targets": split.validation_targets,
            "test_position": split.test_position,
            "test_targets": split.test_targets,
        }
    ).replace_schema_metadata(metadata)
    # One row group, so that a reader gets all sequences as one buffer.
    pyarrow.parquet.write_table(table, path, row_group_size=max(1, table.num_rows))


def _split_counts(sequences: Sequences, split: Split) -> dict[str, int]:
    place = numpy.arange(len(sequences.items)) - sequences.offsets[:-1][sequences.users]
    trained = numpy.zeros(len(sequences.item_ids) + 1, dtype=bool)
    trained[sequences.items[place < split.train_length[sequences.users]]] = True
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

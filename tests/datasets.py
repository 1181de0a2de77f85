"""A dataset folder made by hand, in the format that artifacts/dataset.py describes."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet

from ssm4rec.artifacts.dataset import SequenceDataset, fingerprint, read_sequences


def write_dataset_folder(target: Path, sequences: list[list[int]], name: str = "toy") -> Path:
    """Write sequences as a leave-one-out dataset folder, of users u0, u1, ... and items i1, i2, ...; return it.

    The times of the events are 0, 1, 2, ... milliseconds, and there are no ratings.
    """
    lengths = numpy.array([len(sequence) for sequence in sequences], dtype=numpy.int32)
    items = numpy.concatenate(sequences).astype(numpy.int32)
    offsets = numpy.concatenate([[0], lengths.cumsum()])
    evaluated = lengths >= 3
    train = numpy.where(evaluated, lengths - 2, lengths).astype(numpy.int32)
    validation = numpy.where(evaluated, lengths - 2, -1).astype(numpy.int32)
    test = numpy.where(evaluated, lengths - 1, -1).astype(numpy.int32)
    targets = evaluated.astype(numpy.int32)
    mark = fingerprint(items, offsets, train, [(validation, targets), (test, targets)])
    target.mkdir(parents=True)
    table = pyarrow.table(
        {
            "user_id": [f"u{user}" for user in range(len(sequences))],
            "items": pyarrow.array(sequences, pyarrow.list_(pyarrow.int32())),
            "train_length": train,
            "validation_position": validation,
            "validation_targets": targets,
            "test_position": test,
            "test_targets": targets,
        }
    ).replace_schema_metadata({"ssm4rec.fingerprint": mark, "ssm4rec.dataset": name})
    pyarrow.parquet.write_table(table, target / "sequences.parquet")
    counts = {"users": len(sequences), "items": int(items.max()), "interactions": len(items)}
    manifest = {
        "dataset": name,
        "fingerprint": mark,
        "counts": counts,
        "recbole_counts": {**counts, "users": counts["users"] + 1, "items": counts["items"] + 1},
        "sources": [{"address": "made by hand", "file": "toy", "bytes": 0, "md5": "", "checksum": "none published"}],
        "settings": {},
        "filters": [],
        "split": {
            "name": "leave-one-out",
            "training_interactions": int(train.sum()),
            **dict.fromkeys(("validation_users", "validation_targets"), int(evaluated.sum())),
            **dict.fromkeys(("test_users", "test_targets"), int(evaluated.sum())),
            "test_targets_unseen_in_training": 0,
        },
        "sequence_length": {"mean": float(lengths.mean()), "median": 0.0, "maximum": int(lengths.max())},
        "event_order": {
            "name": "exact",
            "neighbours_that_tie": 0.0,
            "pairs_in_one_order": None,
            "targets_in_ties": 0.0,
            "targets_that_repeat": 0.0,
        },
    }
    (target / "manifest.json").write_text(json.dumps(manifest))
    users = numpy.arange(len(sequences), dtype=numpy.int32).repeat(lengths)
    events = {
        "user": users,
        "item": items,
        "time": numpy.arange(len(items)),
        "rating": pyarrow.nulls(len(items), "float"),
    }
    pyarrow.parquet.write_table(pyarrow.table(events), target / "interactions.parquet")
    return write_items(target, [None] * int(items.max()))


def write_items(dataset: Path, titles: Sequence[str | None], prefix: str = "i") -> Path:
    """Give a dataset folder an items.parquet, whose ids are i1, i2, ... or of another prefix, and return the folder."""
    items = range(1, len(titles) + 1)
    table = pyarrow.table(
        {
            "item": pyarrow.array(items, pyarrow.int32()),
            "item_id": [f"{prefix}{item}" for item in items],
            "title": pyarrow.array(titles, pyarrow.string()),
        }
    )
    pyarrow.parquet.write_table(table, dataset / "items.parquet")
    return dataset


def write_events(
    folder: Path, events: list[tuple[str, int, int]], time_target: str = "successive", **flags: object
) -> SequenceDataset:
    """Have prepare_data split events (user, item, seconds) by time; return the sequences."""
    # Here: not every machine that makes a folder by hand (gpu_proof) has polars.
    import polars

    from ssm4rec.stages.prepare_data import __main__ as prepare_data

    source = folder.parent / f"{folder.name}.csv"
    users, items, times = zip(*events, strict=True)
    frame = polars.DataFrame(
        {"user_id": users, "item_id": items, "timestamp": [10**12 + 1000 * time for time in times]}
    )
    frame.write_csv(source)
    named = {
        "dataset": "events",
        "source": source,
        "dataset-dir": folder,
        "k-core": 0,
        "split": "global-time",
        "time-target": time_target,
        **flags,
    }
    options = prepare_data.Settings.parser().parse_args([f"--{name}={value}" for name, value in named.items()])
    prepare_data.run(options)
    return read_sequences(folder)

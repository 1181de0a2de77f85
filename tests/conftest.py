"""A dataset folder made by hand, in the format that data/dataset.py describes; and a real S3 store."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.data.dataset import fingerprint
from tests.seaweed import ObjectStore, object_store_on

WriteDataset = Callable[..., Path]


@pytest.fixture
def write_dataset(tmp_path: Path) -> WriteDataset:
    """Return a function that writes sequences as a leave-one-out dataset folder and returns the folder."""

    def write(sequences: list[list[int]], name: str = "toy", folder: str = "dataset") -> Path:
        lengths = numpy.array([len(sequence) for sequence in sequences], dtype=numpy.int32)
        items = numpy.concatenate(sequences).astype(numpy.int32)
        offsets = numpy.concatenate([[0], lengths.cumsum()])
        evaluated = lengths >= 3
        train = numpy.where(evaluated, lengths - 2, lengths).astype(numpy.int32)
        validation = numpy.where(evaluated, lengths - 2, -1).astype(numpy.int32)
        test = numpy.where(evaluated, lengths - 1, -1).astype(numpy.int32)
        mark = fingerprint(items, offsets, train, validation, test)
        target = tmp_path / folder
        target.mkdir()
        table = pyarrow.table(
            {
                "user_id": [f"u{user}" for user in range(len(sequences))],
                "items": pyarrow.array(sequences, pyarrow.list_(pyarrow.int32())),
                "train_length": train,
                "validation_position": validation,
                "test_position": test,
            }
        ).replace_schema_metadata({"ssm4rec.fingerprint": mark, "ssm4rec.dataset": name})
        pyarrow.parquet.write_table(table, target / "sequences.parquet")
        counts = {"users": len(sequences), "items": int(items.max()), "interactions": len(items)}
        manifest = {
            "dataset": name,
            "fingerprint": mark,
            "counts": counts,
            "sources": [{"address": "made by hand"}],
            "split": {"name": "leave-one-out"},
        }
        (target / "manifest.json").write_text(json.dumps(manifest))
        return target

    return write


@pytest.fixture
def cycle_dataset(write_dataset: WriteDataset) -> Path:
    """Users who walk round a circle of 12 items, each from another place: the next item is certain."""
    return write_dataset([[(start + step) % 12 + 1 for step in range(6 + start % 9)] for start in range(40)])


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Yield a SeaweedFS server with one empty bucket; it starts in some seconds."""
    folder = tmp_path_factory.mktemp("seaweed")
    (folder / "disk").mkdir()
    with object_store_on(folder / "disk", folder) as store:
        yield store


@pytest.fixture
def object_store(seaweed: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Yield the store, which this process and its children find in their environment; the bucket is emptied after."""
    for name, value in seaweed.variables.items():
        monkeypatch.setenv(name, value)
    yield seaweed
    for key in seaweed.sizes():
        seaweed.client().delete_object(Bucket=seaweed.bucket, Key=key)

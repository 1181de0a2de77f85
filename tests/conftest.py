"""A dataset folder made by hand, in the format that data/dataset.py describes; and a real S3 store."""

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.data.dataset import fingerprint
from ssm4rec.object_store import s3_client

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


@dataclass(frozen=True)
class ObjectStore:
    """A store on the loopback interface and the variables under which clients find it."""

    variables: dict[str, str]
    bucket: str = "studies"

    def client(self) -> Any:
        """Return a client, in a process whose environment has the variables."""
        return s3_client(attempts=2)

    def sizes(self) -> dict[str, int]:
        """Return the size of every object in the bucket by its key."""
        entries = self.client().list_objects_v2(Bucket=self.bucket).get("Contents", [])
        return {entry["Key"]: entry["Size"] for entry in entries}


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObjectStore]:
    """Yield a SeaweedFS server with one empty bucket; it starts in some seconds."""
    folder = tmp_path_factory.mktemp("seaweed")
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    identity = {"name": "tests", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = free_ports(8)
    roles = ("master", "volume", "filer", "s3")
    # Every role has a second, gRPC port; by default it is the first plus 10,000.
    flags = [f"-{role}.port={ports[2 * at]}" for at, role in enumerate(roles)]
    flags += [f"-{role}.port.grpc={ports[2 * at + 1]}" for at, role in enumerate(roles)]
    variables = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports[6]}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }
    command = [
        str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-filer", "-s3", f"-s3.config={folder / 's3.json'}", "-master.volumeSizeLimitMB=64", *flags,
    ]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            store = ObjectStore(variables)
            with pytest.MonkeyPatch.context() as environment:
                for name, value in variables.items():
                    environment.setenv(name, value)
                wait_for_bucket(store)
            yield store
        finally:
            server.terminate()


def wait_for_bucket(store: ObjectStore) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            store.client().create_bucket(Bucket=store.bucket)
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)
        else:
            return


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def object_store(seaweed: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """Yield the store, which this process and its children find in their environment; the bucket is emptied after."""
    for name, value in seaweed.variables.items():
        monkeypatch.setenv(name, value)
    yield seaweed
    for key in seaweed.sizes():
        seaweed.client().delete_object(Bucket=seaweed.bucket, Key=key)

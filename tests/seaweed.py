"""A real S3 store for tests: SeaweedFS on the loopback interface."""

import contextlib
import json
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ssm4rec.runtime.object_store import s3_client


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

    def takes_objects(self) -> bool:
        """Store an object, if it can be. SeaweedFS looks at its disk once a minute and refuses until then."""
        try:
            self.client().put_object(Bucket=self.bucket, Key="probe", Body=b"probe")
        except ClientError:
            return False
        self.client().delete_object(Bucket=self.bucket, Key="probe")
        return True


@contextmanager
def object_store_on(disk: Path, folder: Path) -> Iterator[ObjectStore]:
    """Yield a SeaweedFS server with one empty bucket.

    Args:
        disk: where the contents of objects lie.
        folder: receives their names and the server's log. SeaweedFS 4.48 must be started again once its names are on
            a full disk, but not for contents.
    """
    key, secret = secrets.token_hex(8), secrets.token_hex(16)
    identity = {"name": "tests", "credentials": [{"accessKey": key, "secretKey": secret}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (folder / "filer.toml").write_text(f'[leveldb2]\nenabled = true\ndir = "{folder}/names"\n')
    ports = free_ports(8)
    roles = ("master", "volume", "filer", "s3")
    # Every role has a second, gRPC port; by default it is the first plus 10,000.
    flags = [f"-{role}.port={ports[2 * at]}" for at, role in enumerate(roles)]
    flags += [f"-{role}.port.grpc={ports[2 * at + 1]}" for at, role in enumerate(roles)]
    command = [
        Path(sys.executable).with_name("weed"), "server", f"-dir={disk}", f"-master.dir={folder}",
        "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3", f"-s3.config={folder / 's3.json'}",
        "-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0", *flags,  # not at their fixed ports
    ]  # fmt: skip
    variables = {
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{ports[6]}",
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
    }
    with (
        (folder / "seaweed.log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as server,
        pytest.MonkeyPatch.context() as environment,
    ):
        for name, value in variables.items():
            environment.setenv(name, value)
        try:
            store = ObjectStore(variables)
            wait_for_bucket(store)
            yield store
        finally:
            server.kill()  # its own way takes half a minute


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

"""Folders copied into a real S3 store, and what is said when that fails."""

import os
import time
from pathlib import Path

import pytest

from ssm4rec.data.download import fetch
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.object_store import split_s3_address, upload
from tests.seaweed import ObjectStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    (folder / "models").mkdir(parents=True)
    (folder / "report.md").write_text("# Report")
    (folder / "models" / "weights").write_bytes(os.urandom(20_000_000))  # goes up in parts of 8 MiB
    return folder


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_folder_goes_up_once(object_store: ObjectStore, folder: Path) -> None:
    address = f"s3://{object_store.bucket}/runs/monday/"
    assert upload(files(folder), folder, address) == 2
    assert object_store.sizes() == {"runs/monday/models/weights": 20_000_000, "runs/monday/report.md": 8}
    stored = object_store.client().get_object(Bucket=object_store.bucket, Key="runs/monday/models/weights")
    assert stored["Body"].read() == (folder / "models" / "weights").read_bytes()
    assert upload(files(folder), folder, address) == 0


def test_what_has_changed_goes_up_again(object_store: ObjectStore, folder: Path) -> None:
    address = f"s3://{object_store.bucket}"
    upload(files(folder), folder, address)
    (folder / "report.md").write_text("# Retort")  # of the same size, but later
    os.utime(folder / "report.md", (time.time() + 5, time.time() + 5))
    assert upload(files(folder), folder, address) == 1
    assert object_store.client().get_object(Bucket=object_store.bucket, Key="report.md")["Body"].read() == b"# Retort"


def test_what_went_up_comes_down_again(object_store: ObjectStore, folder: Path, tmp_path: Path) -> None:
    upload(files(folder), folder, f"s3://{object_store.bucket}/data")
    fetched = fetch(f"s3://{object_store.bucket}/data/models/weights", tmp_path / "cache")
    assert fetched.path.read_bytes() == (folder / "models" / "weights").read_bytes()


def test_refusals_name_address_and_reason(object_store: ObjectStore, folder: Path) -> None:
    with pytest.raises(InputError, match="s3://no-such-bucket/x: the store does not answer as it should"):
        upload(files(folder), folder, "s3://no-such-bucket/x")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(InputError, match=f"s3://{object_store.bucket}/x: the store does not answer as it should"):
            upload(files(folder), folder, f"s3://{object_store.bucket}/x")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
        with pytest.raises(InputError, match="Could not connect to the endpoint"):
            upload(files(folder), folder, f"s3://{object_store.bucket}/x")


@pytest.mark.parametrize("address", ["/a/folder", "http://host/bucket", "s3://", "s3:bucket"])
def test_an_address_is_checked(address: str) -> None:
    with pytest.raises(InputError, match=f"{address}: not an address such as s3://bucket/prefix"):
        split_s3_address(address)


def test_an_endpoint_that_is_no_address_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "user:secret@store")
    for call in (lambda: upload(files(folder), folder, "s3://b/c"), lambda: fetch("s3://b/c", folder / "got")):
        with pytest.raises(InputError, match=r"^AWS_ENDPOINT_URL_S3: not an address such as"):
            call()

"""S3 and what speaks its protocol: one way to reach it, and folders copied into it and out of it.

Address, region and credentials come from the environment, as for every AWS client: AWS_ENDPOINT_URL_S3 (unless it is
Amazon's store), AWS_REGION or AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY; or from AWS's own files.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import boto3.exceptions
import botocore.exceptions
from botocore.config import Config

from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import whole_file

CONNECT_SECONDS = 5
READ_SECONDS = 60

# It announces at INFO where it found credentials, between a program's own lines.
logging.getLogger("botocore").setLevel(logging.WARNING)


def s3_client(attempts: int) -> Any:
    """Return a client of its own, which tries each request so often in all.

    boto3's default session is not for several threads and remembers old credentials. Raise InputError if the
    environment names no address of a store.
    """
    # Amazon gives every bucket a host name of its own; other stores (SeaweedFS, MinIO) mostly do not.
    own_endpoint = "AWS_ENDPOINT_URL_S3" in os.environ or "AWS_ENDPOINT_URL" in os.environ
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": attempts, "mode": "standard"},
        s3={"addressing_style": "path" if own_endpoint else "auto"},
        request_checksum_calculation="when_required",  # boto3's own trailing checksums are unknown to other stores
    )
    region = os.environ.get("AWS_REGION") or None  # boto3 reads AWS_DEFAULT_REGION only
    try:
        return boto3.session.Session().client("s3", region_name=region, config=config)
    except ValueError:
        if not own_endpoint:
            raise
        raise InputError("AWS_ENDPOINT_URL_S3: not an address such as http://localhost:8333; correct it") from None


def split_s3_address(address: str) -> tuple[str, str]:
    """Return bucket and key (or prefix, without slashes around it).

    >>> split_s3_address("s3://bucket/studies/monday/")
    ('bucket', 'studies/monday')

    Raise InputError if it is no such address.
    """
    parts = urlsplit(address)
    if parts.scheme != "s3" or not parts.netloc:
        raise InputError(f"{address}: not an address such as s3://bucket/prefix")
    if "@" in parts.netloc:
        raise InputError(
            f"{address}: keys do not belong in an address, which is written down; set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY"
        )
    return parts.netloc, parts.path.strip("/")


def upload(files: Iterable[Path], folder: Path, address: str) -> int:
    """Copy files of a folder to the same places below ``address``, s3://bucket/prefix; large ones go in parts.

    Return how many were copied: a file that is there already, no older and of the same size, is not. Raise InputError
    if the store cannot be reached or refuses; says at which file, and why.
    """
    bucket, prefix = split_s3_address(address)
    with _answering(address):
        client = s3_client(attempts=4)
        present = {entry["Key"]: entry for entry in _entries(client, bucket, prefix)}
    copied = 0
    for path in files:
        key = "/".join(filter(None, (prefix, path.relative_to(folder).as_posix())))
        known, facts = present.get(key), path.stat()
        # The store's clock shows whole seconds.
        if known and known["Size"] == facts.st_size and known["LastModified"].timestamp() >= int(facts.st_mtime):
            continue
        with _answering(f"s3://{bucket}/{key}"):
            client.upload_file(str(path), bucket, key)
        copied += 1
    return copied


def list_objects(address: str) -> list[tuple[str, int, str]]:
    """Return key below the prefix, size and ETag of every object below ``address``, in the order of the keys.

    Raise InputError if nothing lies there, or the store cannot be reached or refuses.
    """
    bucket, prefix = split_s3_address(address)
    with _answering(address):
        entries = list(_entries(s3_client(attempts=4), bucket, prefix))
    if not entries:
        raise InputError(f"{address}: nothing lies there; check bucket and prefix")
    return [(entry["Key"].removeprefix(prefix), entry["Size"], entry.get("ETag", "")) for entry in entries]


@contextmanager
def _answering(place: str) -> Iterator[None]:
    try:
        yield
    except boto3.exceptions.S3UploadFailedError as error:
        raise InputError(f"{place}: the store takes no more ({error})") from None
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise InputError(f"{place}: the store does not answer as it should ({error})") from None


def _entries(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/" if prefix else "")
    for page in pages:
        yield from (entry for entry in page.get("Contents", []) if not entry["Key"].endswith("/"))


def download(address: str, folder: Path) -> None:
    """Copy what lies below ``address``, s3://bucket/prefix, into a folder, which is made if need be.

    What is there already, of the same size and no older, stays. Raise InputError if nothing lies there, the store
    cannot be reached or refuses, or a name would leave the folder.
    """
    bucket, prefix = split_s3_address(address)
    with _answering(address):
        client = s3_client(attempts=4)
        present = list(_entries(client, bucket, prefix))
        for entry in present:
            name = entry["Key"].removeprefix(f"{prefix}/" if prefix else "")
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"s3://{bucket}/{entry['Key']}: its name leads out of the folder it is copied to")
            if target.exists():
                facts = target.stat()
                if facts.st_size == entry["Size"] and facts.st_mtime >= entry["LastModified"].timestamp():
                    continue
            with whole_file(target, shared=True) as partial:
                client.download_file(bucket, entry["Key"], str(partial))
    if not present:
        raise InputError(f"{address}: nothing lies there; check bucket and prefix")

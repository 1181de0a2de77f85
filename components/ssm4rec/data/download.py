"""Files at any address, kept in a cache: resumed where they broke off, tried again, checked.

A cache folder has one folder an address, with the file, ``record.json`` (size, checksums, version at the server) and,
while it is incomplete, ``NAME.part`` with ``part.json``.
"""

import fcntl
import hashlib
import io
import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import tenacity
from tqdm import tqdm

from ssm4rec.data.locations import check_address, check_here, file_name, local_path
from ssm4rec.data.remote import InterruptedAttemptError, Remote, UnreachableError, open_remote
from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import write_json

_ATTEMPTS: Final = 4
_FIRST_WAIT_SECONDS: Final = 0.5
_CHUNK_BYTES: Final = 1 << 17

Checksum = Literal["verified", "accepted unverified", "none published"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Fetched:
    """A file that lies on this machine.

    ``address``: where it came from, without secrets. ``checksum``: how the file compares with the published checksum.
    """

    path: Path
    address: str
    bytes: int
    md5: str
    sha256: str
    checksum: Checksum

    def manifest_entry(self) -> dict[str, str | int]:
        """Return what the manifest says of the file; the path on this machine is not part of it."""
        return {
            "address": self.address,
            "file": self.path.name,
            "bytes": self.bytes,
            "md5": self.md5,
            "sha256": self.sha256,
            "checksum": self.checksum,
        }


@dataclass(frozen=True)
class Record:
    """What is remembered of a complete download."""

    bytes: int
    md5: str
    sha256: str
    version: str


def fetch(address: str, cache_dir: Path, md5: str | None = None, any_checksum: bool = False) -> Fetched:
    """Bring the file at ``address`` to this machine.

    A path or file:// address is used in place. A file in the cache is used again if it is the published one, or, if
    no checksum is published or another is accepted, as long as the server has the same version or cannot be asked.
    Whatever is used is hashed first, also what was hashed when it was downloaded. ``md5`` is the published checksum.

    Raises:
        UnreachableError: it cannot be had from there.
        InputError: there is no such file, or its checksum is not the published one.
    """
    if path := local_path(address):
        check_here(path)
        sums = checksums(path)
        return Fetched(path, address, path.stat().st_size, *sums, _compare(str(path), sums[0], md5, any_checksum))
    check_address(address)
    path = _cache_path(address, cache_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name("lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two studies may begin with the same download
        record = _cached(address, cache_dir, md5, any_checksum) or _download(address, path)
        shown = public_text(address)
        try:
            checksum = _compare(shown, record.md5, md5, any_checksum)
        except InputError:
            path.unlink()
            raise
    return Fetched(path, shown, record.bytes, record.md5, record.sha256, checksum)


def cached_record(address: str, cache_dir: Path) -> Record | None:
    """Return what is remembered of the complete download of an address, None if there is no copy."""
    path = _cache_path(address, cache_dir)
    try:
        record = Record(**json.loads((path.parent / "record.json").read_text(encoding="utf-8")))
        return record if path.stat().st_size == record.bytes else None
    except (OSError, ValueError, TypeError):
        return None


def _cache_path(address: str, cache_dir: Path) -> Path:
    folder = cache_dir / hashlib.sha256(address.encode()).hexdigest()[:16]
    return folder / (file_name(address) or "download")


def _compare(name: str, found: str, published: str | None, any_checksum: bool) -> Checksum:
    if published is None:
        return "none published"
    if found == published:
        return "verified"
    if any_checksum:
        return "accepted unverified"
    raise InputError(
        f"{name}: md5 is {found}, the published one is {published}; get the file again, "
        "or accept it with --any-checksum true"
    )


def _cached(address: str, cache_dir: Path, md5: str | None, any_checksum: bool) -> Record | None:
    """Return the record of the complete file in the cache, or None if it must be downloaded."""
    record, path = cached_record(address, cache_dir), _cache_path(address, cache_dir)
    if record is None:
        return None
    if checksums(path) != (record.md5, record.sha256):
        log.info("%s: the copy in the cache is damaged; downloading it again", public_text(address))
        return None
    if record.md5 == md5:
        return record
    if md5 is not None and not any_checksum:
        return None
    try:
        with open_remote(address) as remote:
            same = remote.version == record.version and remote.bytes in (None, record.bytes)
    except (InterruptedAttemptError, UnreachableError) as error:
        log.info("%s cannot be asked for a newer version (%s); using the copy in the cache", path.name, error)
        return record
    return record if same else None


def _download(address: str, path: Path) -> Record:
    part, about_part = path.with_name(path.name + ".part"), path.parent / "part.json"
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(InterruptedAttemptError),
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        wait=tenacity.wait_exponential(multiplier=_FIRST_WAIT_SECONDS, max=10),
        reraise=True,
    )
    while True:
        had = _size(part)
        try:
            version = retrying(_download_rest, address, part, about_part)
            break
        except InterruptedAttemptError as error:
            # A large file over a weak line takes many attempts; give up when several in a row bring nothing.
            if _size(part) <= had:
                raise UnreachableError(
                    f"{public_text(address)}: cannot be downloaded ({error}, {_ATTEMPTS} attempts); "
                    "check the address and the network, or set --source to another copy"
                ) from None
    record = Record(part.stat().st_size, *checksums(part), version)
    part.replace(path)
    about_part.unlink()
    write_json(path.parent / "record.json", asdict(record))
    return record


def _download_rest(address: str, part: Path, about_part: Path) -> str:
    """Append to ``part`` what is missing, from the beginning if need be; return the file's version."""
    with open_remote(address) as remote, part.open("ab") as file:
        identity = {"version": remote.version, "bytes": remote.bytes}
        if file.tell() and not (_says(about_part, identity) and _begin_at(remote, file.tell())):
            part.unlink()
            return _download_rest(address, part, about_part)
        write_json(about_part, identity)
        if not file.tell():
            size = "size unknown" if remote.bytes is None else f"{remote.bytes / 1e6:.1f} MB"
            log.info("downloading %s (%s)", public_text(address), size)
        with tqdm(
            desc=part.stem, total=remote.bytes, initial=file.tell(), unit="B", unit_scale=True, disable=None
        ) as bar:
            while chunk := remote.stream.read(_CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
        if remote.bytes is not None and file.tell() != remote.bytes:
            if file.tell() > remote.bytes:
                file.truncate(0)
            raise InterruptedAttemptError(f"{file.tell()} of {remote.bytes} bytes came")
    return remote.version


def _begin_at(remote: Remote, offset: int) -> bool:
    if remote.bytes is not None and offset > remote.bytes:
        return False
    try:
        return remote.stream.seek(offset) == offset
    except io.UnsupportedOperation:
        return False


def _says(about_part: Path, identity: dict[str, str | int | None]) -> bool:
    try:
        return bool(json.loads(about_part.read_text(encoding="utf-8")) == identity)
    except (OSError, ValueError):
        return False


def checksums(path: Path) -> tuple[str, str]:
    """Return MD5 and SHA-256 of a file, read once (some 500 MB/s of a core)."""
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            md5.update(chunk)
            sha256.update(chunk)
    return md5.hexdigest(), sha256.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

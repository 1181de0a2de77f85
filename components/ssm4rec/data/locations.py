"""What addresses name: files of this machine or another, folders and patterns; and the format that a name tells."""

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ssm4rec.runtime.errors import InputError

FORMATS: Final = ("csv", "jsonl", "parquet")

_FORMAT_OF_ENDING: Final = {
    ".csv": "csv", ".tsv": "csv", ".inter": "csv", ".item": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".json": "jsonl", ".parquet": "parquet",
}  # fmt: skip
_COMPRESSION_ENDINGS: Final = (".gz", ".bz2", ".zst")
# Hadoop, Spark and most tools skip them: _SUCCESS, .DS_Store.
_HIDDEN: Final = (".", "_")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FILE: Final = re.compile(r"file:(//(localhost(?=/))?)?")


def local_path(address: str) -> Path | None:
    """Return the path that an address names on this machine, None if it is of another.

    A path is taken as it is, whatever stands in it. After file:// too, if such a file exists; else it is decoded:
    ``%23`` is ``#``, ``%2C`` a comma.

    >>> local_path("sales #3.csv"), local_path("file:///data/sales%20%233.csv"), local_path("https://host/a.csv")
    (PosixPath('sales #3.csv'), PosixPath('/data/sales #3.csv'), None)
    """
    path = Path(address).expanduser()
    if os.path.lexists(path):
        return path
    if prefix := _FILE.match(address):
        written = address[prefix.end() :]
        return Path(written if os.path.lexists(written) else unquote(written)).expanduser()
    return None if _SCHEME.match(address) else path


def file_name(address: str) -> str:
    """Return the name of the file at an address.

    >>> file_name("https://host/a%20b.csv?version=3"), file_name("sales?.csv")
    ('a b.csv', 'sales?.csv')
    """
    path = local_path(address)
    return path.name if path else unquote(re.split("[?#]", address)[0]).rpartition("/")[2]


def format_of_name(address: str) -> str | None:
    """Return the format that the name of a file tells, or None.

    >>> format_of_name("ml-100k.inter"), format_of_name("s3://bucket/clicks.jsonl.gz"), format_of_name("clicks.txt")
    ('csv', 'jsonl', None)
    """
    name = Path(file_name(address).lower())
    return _FORMAT_OF_ENDING.get((name.with_suffix("") if name.suffix in _COMPRESSION_ENDINGS else name).suffix)


def split_addresses(text: str) -> list[str]:
    """Split a flag that may hold several addresses. A file whose name has a comma is found if it exists.

    >>> split_addresses("monday.csv, s3://bucket/tuesday.csv")
    ['monday.csv', 's3://bucket/tuesday.csv']
    """
    if os.path.lexists(text):
        return [text]
    parts = text.split(",")
    addresses = []
    while parts:
        taken = 1
        if "," in text and not _known(parts[0].strip()):
            taken = next((end for end in range(2, len(parts) + 1) if _known(",".join(parts[:end]).strip())), 1)
        addresses.append(",".join(parts[:taken]).strip())
        parts = parts[taken:]
    return [address for address in addresses if address]


def expand_addresses(text: str) -> list[str]:
    """Return the address of each file that a flag names, in the order in which they are read.

    A folder stands for the files in it, a pattern (``*``, ``?``, ``[...]``, ``**`` for folders below) for the files it
    fits; both in the order of their paths. Hidden files (``.`` or ``_`` first) and those of 0 bytes are skipped. Raise
    InputError if a folder or pattern holds no file, folders below, or files of several formats.
    """
    return [file for address in split_addresses(text) for file in expand_address(address)]


def expand_address(address: str) -> list[str]:
    """Return the address of each file that one address stands for, as :func:`expand_addresses` does."""
    if address.startswith("s3://") and (address.endswith("/") or "*" in address):
        raise InputError(
            f"{address}: in a bucket name each object, separated by commas; folders and patterns are local"
        )
    path = local_path(address)
    if path is None or path.is_file():
        return [address]
    if path.is_dir():
        found = _visible(path.iterdir(), path)
        below = [entry.name for entry in found if entry.is_dir()]
        if below:
            raise InputError(f"{path}: holds the folder {below[0]}; name the files by a pattern such as {path}/*/*.csv")
    elif glob.has_magic(str(path)):
        found = _visible(map(Path, glob.glob(str(path), recursive=True)), path)  # noqa: PTH207 # takes absolute ones
    else:
        return [address]  # which does not exist, as whoever fetches it says
    files = [entry for entry in found if not entry.is_dir()]
    # Spark writes a file without a byte for a partition without a row.
    files = [entry for entry in files if not entry.is_file() or entry.stat().st_size] or files
    if not files:
        raise InputError(f"{path}: no file fits; check --source")
    by_format = {format_of_name(file.name): file for file in reversed(files)}
    if len(by_format) > 1:
        one, other = list(by_format.values())[:2]
        raise InputError(
            f"{path}: holds files of several formats, such as {one.name} and {other.name}; name some by a pattern"
        )
    return [str(file) for file in files]


def _visible(entries: Iterable[Path], base: Path) -> list[Path]:
    """Return the entries without a hidden part below the fixed part of ``base``, sorted."""
    fixed = next((place for place, part in enumerate(base.parts) if glob.has_magic(part)), len(base.parts))
    return sorted(entry for entry in entries if not any(part.startswith(_HIDDEN) for part in entry.parts[fixed:]))


def check_address(address: str) -> None:
    """Raise InputError if an address cannot be one, or is of a kind that there is not."""
    if local_path(address):
        return
    try:
        urlsplit(address)
    except ValueError as error:
        raise InputError(f"{address}: not an address ({error}); check --source") from None
    scheme = _SCHEME.match(address)
    if scheme is None or scheme[1].lower() not in ("http", "https", "s3"):
        raise InputError(f"{address}: unknown kind of address; use a path, file://, http://, https:// or s3://")


def check_here(path: Path) -> None:
    """Raise InputError if a path of this machine is not that of a file."""
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        raise InputError(f"{path}: {what}; check --source (a comma in a name is %2C after file://)")


def _known(address: str) -> bool:
    """Tell whether an address needs no more of the text after it: it exists here, or is of another machine."""
    path = local_path(address)
    return path is None or os.path.lexists(path)

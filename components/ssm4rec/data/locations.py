"""Where a file lies: on this machine, or at an address of another."""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ssm4rec.runtime.errors import InputError

REMOTE_SCHEMES: Final = ("http", "https", "s3")
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


def check_address(address: str) -> None:
    """Raise InputError if an address cannot be one, or is of a kind that there is not."""
    if local_path(address):
        return
    try:
        urlsplit(address)
    except ValueError as error:
        raise InputError(f"{address}: not an address ({error}); check --source") from None
    scheme = _SCHEME.match(address)
    if scheme is None or scheme[1].lower() not in REMOTE_SCHEMES:
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

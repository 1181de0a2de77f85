"""What ``--source`` and ``--items-source`` name: files, folders and patterns, as a list of files."""

import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ssm4rec.data.locations import local_path, split_addresses
from ssm4rec.data.readers import format_of_name
from ssm4rec.runtime.errors import InputError

# Hadoop, Spark and most tools skip them: _SUCCESS, .DS_Store.
_HIDDEN: Final = (".", "_")


def expand_addresses(text: str) -> list[str]:
    """Return the address of each file that a flag names, in the order in which they are read.

    A folder stands for the files in it, a pattern (``*``, ``?``, ``[...]``, ``**`` for folders below) for the files it
    fits; both in the order of their paths. Hidden files (``.`` or ``_`` first) and those of 0 bytes are skipped.

    Raises:
        InputError: a folder or pattern holds no file, folders below, or files of several formats.
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
    fixed = len(base.parts)
    shown = []
    for entry in entries:
        below = entry.parts[next((n for n, part in enumerate(base.parts) if glob.has_magic(part)), fixed) :]
        if not any(part.startswith(_HIDDEN) for part in below):
            shown.append(entry)
    return sorted(shown)

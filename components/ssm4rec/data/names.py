"""What a data set is called: published ones by their own name, a person's own events by one that is theirs.

The name stands in manifests, MLflow runs, the registered model ``ssm4rec-<name>``, reports and file names.
"""

import glob
import re
import unicodedata
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ssm4rec.data.data_sets import EVENTS, is_published
from ssm4rec.data.events import NEEDS_SOURCE
from ssm4rec.data.locations import local_path, split_addresses
from ssm4rec.runtime.errors import InputError

_LONGEST: Final = 80
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ENDINGS: Final = (".gz", ".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".inter")


def data_set_name(dataset: str, name: str, source: str) -> str:
    """Return the name of the data set that ``--dataset``, ``--name`` and ``--source`` ask for.

    Own events without a name are called after their file, or after the folder of several files.

    Args:
        dataset: the kind of data set, such as ``events`` or ``ml-1m``.
        name: chosen by a person, or "".
        source: addresses of the events.

    Raises:
        InputError: the name cannot be one, is that of a published data set, or cannot be told from the source; or a
            published data set is given another one.

    >>> data_set_name("ml-1m", "", ""), data_set_name("events", "", "s3://shop/My%20clicks.csv.gz")
    ('ml-1m', 'My-clicks')
    >>> data_set_name("events", "", "shop/monday.csv, shop/tuesday.csv"), data_set_name("events", "", "shop/*.csv")
    ('shop', 'shop')
    """
    if dataset != EVENTS:
        if name not in ("", dataset):
            raise InputError(f"--name {name}: --dataset {dataset} has its own name; leave --name out")
        return dataset
    if not (name or source):
        raise InputError(NEEDS_SOURCE)
    chosen = name or _name_of(source)
    if not _NAME.fullmatch(chosen) or len(chosen) > _LONGEST:
        raise InputError(
            f"--name {name[:_LONGEST]!r}: use letters, digits, '.', '_' and '-', beginning with a letter or digit, at "
            f"most {_LONGEST} characters"
            if name
            else f"--source {source[:_LONGEST]!r}: gives the data set no name; set one with --name"
        )
    if is_published(chosen.lower()):
        raise InputError(f"--name {chosen}: is the name of a published data set; set another --name for your own data")
    return chosen


def _name_of(source: str) -> str:
    """Return what the addresses suggest as a name, made of characters that a name may have; "" if they do not."""
    paths = [_path(address) for address in split_addresses(source)]
    if len(paths) != 1:
        folders = {path.parent for path in paths}
        stem = folders.pop().name if len(folders) == 1 else ""
    elif glob.has_magic(str(paths[0])) and not paths[0].is_file():
        stem = next(folder.name for folder in paths[0].parents if not glob.has_magic(str(folder)))
    else:
        stem = paths[0].name
        while (shorter := _without_ending(stem)) != stem:
            stem = shorter
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-._")[:_LONGEST]


def _path(address: str) -> Path:
    path = local_path(address)
    return path.absolute() if path else Path(unquote(urlsplit(address).path))


def _without_ending(name: str) -> str:
    return next((name[: -len(ending)] for ending in _ENDINGS if name.lower().endswith(ending)), name)

"""The data sets by name: published ones by their own, a person's own events by one that is theirs."""

import glob
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from ssm4rec.data.amazon import PREFIX as AMAZON_PREFIX
from ssm4rec.data.amazon import amazon_addresses, category, read_amazon
from ssm4rec.data.events import NEEDS_SOURCE, check_columns_here, check_events, read_events
from ssm4rec.data.generated import GENERATED_SETS, read_generated
from ssm4rec.data.locations import check_address, check_here, expand_addresses, local_path, split_addresses
from ssm4rec.data.movielens import MOVIELENS, read_movielens
from ssm4rec.data.source import Source, SourceOptions, titles_source
from ssm4rec.runtime.errors import InputError

EVENTS: Final = "events"
DATA_SETS: Final = (
    *MOVIELENS,
    f"{AMAZON_PREFIX}video-games",
    f"{AMAZON_PREFIX}beauty",
    f"{AMAZON_PREFIX}<category>",
    *GENERATED_SETS,
    EVENTS,
)
_LONGEST_NAME: Final = 80
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_ENDINGS: Final = re.compile(r"(\.(gz|csv|tsv|jsonl|ndjson|parquet|inter))+\Z", re.IGNORECASE)


def is_published(name: str) -> bool:
    """Return whether a data set of that name is published, or generated here: nobody's own may have it."""
    return name in (*MOVIELENS, *GENERATED_SETS) or name.startswith(AMAZON_PREFIX)


def check_data_set(options: SourceOptions) -> None:
    """Raise InputError if the options name no data set, or do not suit it: what can be said before anything is read.

    Which files a folder or a pattern of a machine holds is known there (:func:`check_files`).
    """
    name = options.dataset
    if name in MOVIELENS:
        if options.items_source not in ("", "none"):
            raise InputError(f"--items-source: the titles of {name} are in its archive; leave the flag out")
    elif name.startswith(AMAZON_PREFIX):
        category(name)
    elif name == EVENTS:
        check_events(options)
    elif name in GENERATED_SETS:
        for flag, value in (("--source", options.source), ("--items-source", options.items_source)):
            if value not in ("", "none"):
                raise InputError(f"{flag}: {name} is generated, nothing is read for it; leave the flag out")
    else:
        raise unknown_data_set("--dataset", name)
    for address in split_addresses(options.source) + split_addresses(titles_source(options)):
        check_address(address)


def unknown_data_set(flag: str, name: str) -> InputError:
    """Return what is wrong with a name that ``flag`` gave, and the names that there are."""
    return InputError(f"{flag} {name}: unknown data set; use one of {', '.join(DATA_SETS)}")


def check_columns_suit(dataset: str, settings: Mapping[str, Any]) -> None:
    """Raise InputError if a column is named for a data set whose files are known; settings by their names."""
    for one in () if dataset == EVENTS else fields(SourceOptions):
        named = settings.get(one.name, one.default)
        if one.name.endswith("_column") and named != one.default:
            raise InputError(
                f"--{one.name.replace('_', '-')} {named}: names a column of your own files (--dataset {EVENTS}), and "
                f"those of {dataset} are known; leave the flag out"
            )


def check_files(options: SourceOptions) -> None:
    """Raise InputError if a named file of this machine is missing, or one of own events there lacks a column."""
    if options.dataset in MOVIELENS:
        addresses = split_addresses(options.source)  # of a single archive
    else:
        addresses = expand_addresses(options.source) + expand_addresses(titles_source(options))
    for path in filter(None, map(local_path, addresses)):
        check_here(path)
    if options.dataset == EVENTS:
        check_columns_here(options)


def read_addresses(options: SourceOptions) -> list[str]:
    """Return the addresses that the data set that ``options`` name is read from, as far as their files may change.

    GroupLens' own archives may not: their checksums are known. Raise InputError if there is no such category or form of
    Amazon Reviews '23.
    """
    if options.dataset.startswith(AMAZON_PREFIX):
        return [address for text in amazon_addresses(options) for address in split_addresses(text)]
    if options.dataset in MOVIELENS:
        return [options.source] if options.source else []
    return [*split_addresses(options.source), *split_addresses(titles_source(options))]


def read_data_set(options: SourceOptions) -> Source:
    """Return the data set that ``options`` name; raise InputError if there is none, or its files cannot be had."""
    check_data_set(options)
    if options.dataset in MOVIELENS:
        return read_movielens(options)
    if options.dataset in GENERATED_SETS:
        return read_generated(options.dataset)
    return read_events(options) if options.dataset == EVENTS else read_amazon(options)


def data_set_name(dataset: str, name: str, source: str) -> str:
    """Return the name of the data set that ``--dataset``, ``--name`` and ``--source`` ask for.

    It stands in manifests, MLflow runs, the registered model ``ssm4rec-<name>``, reports and file names. Own events
    without a name are called after their file, or after the folder of several files. Raise InputError if the name
    cannot be one, is that of a published data set, or cannot be told from the source; or a published data set is given
    another one.

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
    if not _NAME.fullmatch(chosen) or len(chosen) > _LONGEST_NAME:
        raise InputError(
            f"--name {name[:_LONGEST_NAME]!r}: use letters, digits, '.', '_' and '-', beginning with a letter or "
            f"digit, at most {_LONGEST_NAME} characters"
            if name
            else f"--source {source[:_LONGEST_NAME]!r}: gives the data set no name; set one with --name"
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
        stem = _ENDINGS.sub("", paths[0].name)
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._]+", "-", plain).strip("-._")[:_LONGEST_NAME]


def _path(address: str) -> Path:
    path = local_path(address)
    return path.absolute() if path else Path(unquote(urlsplit(address).path))

"""The data sets by name."""

from typing import Final

from ssm4rec.data.addresses import expand_addresses
from ssm4rec.data.amazon import PREFIX as AMAZON_PREFIX
from ssm4rec.data.amazon import amazon_addresses, category, read_amazon
from ssm4rec.data.events import check_columns_here, check_events, read_events
from ssm4rec.data.locations import check_address, check_here, local_path, split_addresses
from ssm4rec.data.movielens import MOVIELENS, check_movielens, read_movielens
from ssm4rec.data.source import Source, SourceOptions, titles_source
from ssm4rec.runtime.errors import InputError

EVENTS: Final = "events"
DATA_SETS: Final = (
    *MOVIELENS,
    f"{AMAZON_PREFIX}video-games",
    f"{AMAZON_PREFIX}beauty",
    f"{AMAZON_PREFIX}<category>",
    EVENTS,
)


def is_published(name: str) -> bool:
    """Return whether a data set of that name is published, so that nobody's own may have it."""
    return name in MOVIELENS or name.startswith(AMAZON_PREFIX)


def check_data_set(options: SourceOptions) -> None:
    """Raise InputError if the options name no data set, or do not suit it: what can be said before anything is read.

    Which files a folder or a pattern of a machine holds is known there (:func:`check_files`).
    """
    name = options.dataset
    source, items = split_addresses(options.source), split_addresses(titles_source(options))
    if name in MOVIELENS:
        check_movielens(options)
    elif name.startswith(AMAZON_PREFIX):
        category(name)
    elif name == EVENTS:
        check_events(options, [address for address in source if local_path(address) is None])
    else:
        raise InputError(f"--dataset {name}: unknown data set; use one of {', '.join(DATA_SETS)}")
    for address in (*source, *items):
        check_address(address)


def check_files(options: SourceOptions) -> None:
    """Raise InputError if a file that the options name is not on this machine, or one of own events lacks a column.

    Other addresses are not asked.
    """
    published = options.dataset in MOVIELENS  # a single archive
    source = split_addresses(options.source) if published else expand_addresses(options.source)
    for address in (*source, *([] if published else expand_addresses(titles_source(options)))):
        if path := local_path(address):
            check_here(path)
    if options.dataset == EVENTS:
        check_events(options, source)
        check_columns_here(options)


def read_addresses(options: SourceOptions) -> list[str]:
    """Return the addresses that the data set that ``options`` name is read from, as far as their files may change.

    GroupLens' own archives may not: their checksums are known.

    Raises:
        InputError: there is no such category or form of Amazon Reviews '23.
    """
    if options.dataset.startswith(AMAZON_PREFIX):
        return [address for text in amazon_addresses(options) for address in split_addresses(text)]
    if options.dataset in MOVIELENS:
        return [options.source] if options.source else []
    return [*split_addresses(options.source), *split_addresses(titles_source(options))]


def read_data_set(options: SourceOptions) -> Source:
    """Read the data set that ``options`` name.

    Raises:
        InputError: there is no such data set, or it cannot be had or read.
    """
    check_data_set(options)
    if options.dataset in MOVIELENS:
        return read_movielens(options)
    return read_events(options) if options.dataset == EVENTS else read_amazon(options)

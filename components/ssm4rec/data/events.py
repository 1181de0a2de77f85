"""The user's own events: CSV, JSONL or Parquet files with columns of any name."""

from collections.abc import Sequence
from typing import Final

from ssm4rec.data.addresses import expand_addresses
from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.download import fetch
from ssm4rec.data.interactions import Columns, encode
from ssm4rec.data.readers import format_of_name, guess_format, read_batches
from ssm4rec.data.source import Source, SourceOptions, titles_source
from ssm4rec.data.streams import TextForm
from ssm4rec.data.titles import read_titles
from ssm4rec.errors import InputError

NEEDS_SOURCE: Final = "--dataset events needs --source: the address of your CSV, JSONL or Parquet file"


def check_events(options: SourceOptions, addresses: Sequence[str]) -> None:
    """Raise InputError if no source is given, or the name of a file does not tell its format."""
    if not options.source:
        raise InputError(NEEDS_SOURCE)
    for address in addresses:
        _format(options, address)


def read_events(options: SourceOptions) -> Source:
    """Read the files of ``options.source`` one after the other, and titles from ``options.items_source``.

    Raises:
        InputError: a file or column is missing or malformed.
    """
    columns = Columns(options.user_column, options.item_column, options.time_column, options.rating_column)
    wanted = [column for column in (columns.user, columns.item, columns.time, columns.rating) if column]
    form = TextForm(options.delimiter, options.encoding)
    bad_rows, bad_titles = BadRows(options.bad_rows), BadRows(options.bad_rows)
    files = [
        (fetch(address, options.cache_dir), _format(options, address)) for address in expand_addresses(options.source)
    ]
    items_files = [
        (fetch(address, options.cache_dir), _items_format(options, address))
        for address in expand_addresses(titles_source(options))
    ]
    ids = (columns.user, columns.item)
    interactions = encode(
        ((str(file.path), read_batches(file.path, kind, wanted, ids, form, bad_rows)) for file, kind in files),
        columns,
        options.time_unit,
        bad_rows,
    )
    named = (options.item_column, options.title_column)
    titles = read_titles(
        (
            (str(file.path), read_batches(file.path, kind, named, (options.item_column,), form, bad_titles))
            for file, kind in items_files
        ),
        *named,
        bad_titles,
    )
    read = tuple(file for file, _ in (*files, *items_files))
    return Source(interactions, titles, read, bool(items_files), bad_rows.dropped, bad_titles.dropped)


def _format(options: SourceOptions, address: str) -> str:
    return guess_format(address) if options.format == "auto" else options.format


def _items_format(options: SourceOptions, address: str) -> str:
    """Return the format of an items file: what its name tells, else that of the events.

    A catalog is often written by another tool than the events.
    """
    return format_of_name(address) or _format(options, address)

"""The user's own events: CSV, JSONL or Parquet files with columns of any name."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow

from ssm4rec.data.addresses import expand_addresses
from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.delimited import ColumnError
from ssm4rec.data.download import fetch
from ssm4rec.data.interactions import Columns, encode
from ssm4rec.data.locations import local_path
from ssm4rec.data.readers import check_columns, format_of_name, guess_format, read_batches
from ssm4rec.data.source import Source, SourceOptions, titles_source
from ssm4rec.data.streams import TextForm
from ssm4rec.data.titles import read_titles
from ssm4rec.runtime.errors import InputError

NEEDS_SOURCE: Final = "--dataset events needs --source: the address of your CSV, JSONL or Parquet file"


def check_events(options: SourceOptions, addresses: Sequence[str]) -> None:
    """Raise InputError if no source is given, or the name of a file does not tell its format."""
    if not options.source:
        raise InputError(NEEDS_SOURCE)
    for address in addresses:
        _format(options, address)


def check_columns_here(options: SourceOptions) -> None:
    """Raise InputError if a file of this machine lacks a column, as far as its beginning tells."""
    form = TextForm(options.delimiter, options.encoding)
    for file in _files(options):
        if path := local_path(file.address):
            with _flags_named(file):
                check_columns(path, file.kind, list(file.flags), form, BadRows(options.bad_rows))


def read_events(options: SourceOptions) -> Source:
    """Read the files of ``options.source`` one after the other, and titles from ``options.items_source``.

    Raises:
        InputError: a file or column is missing or malformed.
    """
    columns = Columns(options.user_column, options.item_column, options.time_column, options.rating_column)
    bad_rows, bad_titles = BadRows(options.bad_rows), BadRows(options.bad_rows)
    files = [(file, fetch(file.address, options.cache_dir)) for file in _files(options)]
    events = [(file, fetched.path) for file, fetched in files if not file.titles]
    items = [(file, fetched.path) for file, fetched in files if file.titles]
    interactions = encode(
        ((str(path), _batches(file, path, options, bad_rows)) for file, path in events),
        columns,
        options.time_unit,
        bad_rows,
    )
    titles = read_titles(
        ((str(path), _batches(file, path, options, bad_titles)) for file, path in items),
        options.item_column,
        options.title_column,
        bad_titles,
    )
    read = tuple(fetched for _, fetched in files)
    return Source(interactions, titles, read, bool(items), bad_rows.dropped, bad_titles.dropped)


@dataclass(frozen=True)
class _File:
    """A file that the options name.

    Attributes:
        address: where it is.
        kind: its format.
        flags: its wanted columns, each with the flag that names it.
        titles: whether it holds titles, not events.
    """

    address: str
    kind: str
    flags: dict[str, str]
    titles: bool = False


def _files(options: SourceOptions) -> Iterator[_File]:
    events = {options.user_column: "--user-column", options.item_column: "--item-column"}
    events |= {options.time_column: "--time-column"}
    if options.rating_column:
        events[options.rating_column] = "--rating-column"
    for address in expand_addresses(options.source):
        yield _File(address, _format(options, address), events)
    titles = {
        options.item_column: "--item-column, which is one name for events and titles",
        options.title_column: "--title-column",
    }
    for address in expand_addresses(titles_source(options)):
        # A catalog is often written by another tool than the events.
        yield _File(address, format_of_name(address) or _format(options, address), titles, titles=True)


def _batches(file: _File, path: Path, options: SourceOptions, bad_rows: BadRows) -> Iterator[pyarrow.RecordBatch]:
    ids = (options.user_column, options.item_column)
    form = TextForm(options.delimiter, options.encoding)
    with _flags_named(file):
        yield from read_batches(path, file.kind, list(file.flags), ids, form, bad_rows)


@contextmanager
def _flags_named(file: _File) -> Iterator[None]:
    """Name the flag of a column that a file lacks."""
    try:
        yield
    except ColumnError as error:
        raise InputError(f"{error}; rename it, or choose another {file.flags[error.column]}") from None


def _format(options: SourceOptions, address: str) -> str:
    return guess_format(address) if options.format == "auto" else options.format

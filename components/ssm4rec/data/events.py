"""The user's own events: CSV, JSONL or Parquet files with columns of any name."""

from collections.abc import Sequence
from typing import Final

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.locations import FORMATS, expand_addresses, format_of_name, local_path
from ssm4rec.data.readers import check_columns
from ssm4rec.data.source import Source, SourceOptions, titles_source
from ssm4rec.data.streams import TextForm
from ssm4rec.data.tables import Table, read_tables
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
    events, titles = _tables(options)
    for table in (*events, *titles):
        if path := local_path(table.address):
            with table.naming_flags():
                check_columns(path, table.kind, list(table.columns), form, BadRows(options.bad_rows))


def read_events(options: SourceOptions) -> Source:
    """Read the files of ``options.source``, and titles from ``options.items_source``.

    Raises:
        InputError: a file or column is missing or malformed.
    """
    return read_tables(*_tables(options), options)


def _tables(options: SourceOptions) -> tuple[list[Table], list[Table]]:
    """Return the files of events and those of titles."""
    events = {options.user_column: "--user-column", options.item_column: "--item-column"}
    events |= {options.time_column: "--time-column"}
    if options.rating_column:
        events[options.rating_column] = "--rating-column"
    titles = {
        options.item_column: "--item-column, which is one name for events and titles",
        options.title_column: "--title-column",
    }
    return (
        [Table(address, _format(options, address), events) for address in expand_addresses(options.source)],
        [
            # A catalog is often written by another tool than the events.
            Table(address, format_of_name(address) or _format(options, address), titles)
            for address in expand_addresses(titles_source(options))
        ],
    )


def _format(options: SourceOptions, address: str) -> str:
    kind = format_of_name(address) if options.format == "auto" else options.format
    if kind is None:
        raise InputError(f"{address}: the name does not tell the format; set --format to one of {', '.join(FORMATS)}")
    return kind

"""The user's own events: CSV, JSONL or Parquet files with columns of any name."""

from collections.abc import Iterator
from typing import Final

import polars
import pyarrow

from ssm4rec.data.download import Fetched, fetch
from ssm4rec.data.interactions import Columns, encode
from ssm4rec.data.readers import guess_format, read_batches
from ssm4rec.data.source import Source, SourceOptions, split_addresses
from ssm4rec.errors import InputError

NEEDS_SOURCE: Final = "--dataset events needs --source: the address of your CSV, JSONL or Parquet file"


def read_events(options: SourceOptions) -> Source:
    """Read the files of ``options.source`` one after the other, and titles from ``options.items_source``.

    Raises:
        InputError: no source is given, or a file or column is missing or malformed.
    """
    if not options.source:
        raise InputError(NEEDS_SOURCE)
    columns = Columns(options.user_column, options.item_column, options.time_column, options.rating_column)
    wanted = [column for column in (columns.user, columns.item, columns.time, columns.rating) if column]
    files = [
        (fetch(address, options.cache_dir), _format(options, address)) for address in split_addresses(options.source)
    ]
    items_addresses = [] if options.items_source == "none" else split_addresses(options.items_source)
    items_files = [fetch(address, options.cache_dir) for address in items_addresses]
    interactions = encode(
        (
            (str(file.path), read_batches(file.path, kind, wanted, ids=(columns.user, columns.item)))
            for file, kind in files
        ),
        columns,
        options.time_unit,
    )
    titles = (frame for file in items_files for frame in _read_titles(options, file))
    return Source(interactions, titles, (*(file for file, _ in files), *items_files))


def _format(options: SourceOptions, address: str) -> str:
    return guess_format(address) if options.format == "auto" else options.format


def _read_titles(options: SourceOptions, file: Fetched) -> Iterator[polars.DataFrame]:
    columns = (options.item_column, options.title_column)
    for batch in read_batches(file.path, guess_format(file.path.name), columns, ids=(options.item_column,)):
        texts = []
        for column in columns:
            try:
                texts.append(polars.Series(batch.column(column).cast(pyarrow.string())))
            except pyarrow.ArrowNotImplementedError:  # lists and records have no text form
                raise InputError(
                    f"{file.path}, column {column}: of type {batch.column(column).type}; ids and titles are texts"
                ) from None
        yield polars.DataFrame(dict(zip(("item_id", "title"), texts, strict=True)))

"""Files of events and of titles whose columns have any name: the user's own, and how others of that kind are read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars
import pyarrow

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.delimited import ColumnError
from ssm4rec.data.download import fetch
from ssm4rec.data.event_files import EventFiles
from ssm4rec.data.interactions import Columns
from ssm4rec.data.locations import FORMATS, expand_addresses, format_of_name, local_path, split_addresses
from ssm4rec.data.readers import check_columns, read_batches
from ssm4rec.data.source import Source, SourceOptions, titles_source
from ssm4rec.data.streams import TextForm
from ssm4rec.data.values import read_ids, read_titles
from ssm4rec.runtime.errors import InputError

NEEDS_SOURCE: Final = "--dataset events needs --source: the address of your CSV, JSONL or Parquet file"


@dataclass(frozen=True)
class Table:
    """A file to read; the wanted ``columns`` each with the flag that names it, or ""."""

    address: str
    kind: str
    columns: Mapping[str, str]

    @contextmanager
    def naming_flags(self) -> Iterator[None]:
        """Name the flag of a column that the file lacks."""
        try:
            yield
        except ColumnError as error:
            if flag := self.columns[error.column]:
                raise InputError(f"{error}; rename it, or choose another {flag}") from None
            raise


@dataclass(frozen=True)
class _TableFile:
    """A file of a table, on this machine; ``ids`` are columns whose numbers are names."""

    table: Table
    path: Path
    ids: tuple[str, ...]
    form: TextForm

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size

    def batches(self, bad_rows: BadRows) -> Iterator[pyarrow.RecordBatch]:
        with self.table.naming_flags():
            yield from read_batches(self.path, self.table.kind, list(self.table.columns), self.ids, self.form, bad_rows)


def check_events(options: SourceOptions) -> None:
    """Raise InputError if no source is given, or the name of another machine's file does not tell its format."""
    if not options.source:
        raise InputError(NEEDS_SOURCE)
    for address in split_addresses(options.source):
        if local_path(address) is None:
            _format(options, address)


def check_columns_here(options: SourceOptions) -> None:
    """Raise InputError if a file's name tells no format, or the beginning of one of this machine lacks a column."""
    form = TextForm(options.delimiter, options.encoding)
    events, titles = _tables(options)
    for table in (*events, *titles):
        if path := local_path(table.address):
            with table.naming_flags():
                check_columns(path, table.kind, list(table.columns), form, BadRows(options.bad_rows))


def read_events(options: SourceOptions) -> Source:
    """Return events and titles of one's own, as :func:`read_tables` does."""
    return read_tables(*_tables(options), options)


def _tables(options: SourceOptions) -> tuple[list[Table], list[Table]]:
    events = {options.user_column: "--user-column", options.item_column: "--item-column"}
    events |= {options.time_column: "--time-column"}
    if options.rating_column:
        events[options.rating_column] = "--rating-column"
    tables = [Table(address, _format(options, address), events) for address in expand_addresses(options.source)]
    return tables, _title_tables(options)


def _title_tables(options: SourceOptions) -> list[Table]:
    titles = {
        options.item_column: "--item-column, which is one name for events and titles",
        options.title_column: "--title-column",
    }
    if options.words_column:
        titles[options.words_column] = "--words-column"
    return [
        # A catalog is often written by another tool than the events.
        Table(address, format_of_name(address) or _format(options, address), titles)
        for address in expand_addresses(titles_source(options))
    ]


def _format(options: SourceOptions, address: str) -> str:
    kind = format_of_name(address) if options.format == "auto" else options.format
    if kind is None:
        raise InputError(f"{address}: the name does not tell the format; set --format to one of {', '.join(FORMATS)}")
    return kind


def read_tables(
    events: Sequence[Table], titles: Sequence[Table], options: SourceOptions, always_drop: Iterable[str] = ()
) -> Source:
    """Fetch files of events and of titles; both are read while they are asked for.

    Raise InputError if a file cannot be had, then also if a file or column is missing or malformed. ``options``:
    say which column is which, and how the files are written. ``always_drop``: reasons to drop an event even where bad
    rows are refused.
    """
    bad_rows, bad_titles = BadRows(options.bad_rows, always_drop), BadRows(options.bad_rows)
    fetched = [fetch(table.address, options.cache_dir) for table in (*events, *titles)]
    ids, form = (options.user_column, options.item_column), TextForm(options.delimiter, options.encoding)
    files = [_TableFile(table, file.path, ids, form) for table, file in zip((*events, *titles), fetched, strict=True)]
    columns = Columns(options.user_column, options.item_column, options.time_column, options.rating_column)
    return Source(
        EventFiles(tuple(files[: len(events)]), columns, options.time_unit, bad_rows),
        _read_titles(files[len(events) :], options, bad_titles),
        tuple(fetched),
        bool(titles),
        bad_titles.dropped,
    )


def _read_titles(files: Iterable[_TableFile], options: SourceOptions, bad_rows: BadRows) -> Iterator[polars.DataFrame]:
    """Stream frames with ``item_id``, ``title`` and, with a column of them, ``words``.

    A row may lack any; raise InputError for an unreadable one.
    """
    for file in files:
        row = 1
        for batch in file.batches(bad_rows):
            try:
                ids, problems = read_ids(batch.column(options.item_column), options.item_column, "item id")
                titles, undecodable = read_titles(batch.column(options.title_column), options.title_column)
                said = {"title": polars.Series(titles)}
                if options.words_column:
                    words, wrong = read_titles(batch.column(options.words_column), options.words_column)
                    said["words"] = polars.Series(words)
                    undecodable += wrong
            except InputError as error:
                raise InputError(f"{file.name}, {error}") from None
            unreadable = [problem for problem in problems if not problem.reason.endswith("missing")]
            good = bad_rows.good([*unreadable, *undecodable], batch.num_rows, file.name, row)
            frame = polars.DataFrame({"item_id": ids, **said})
            yield frame if good is None else frame.filter(good)
            row += batch.num_rows

"""Files of events and files of titles, whatever their columns are called, as one data set."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import polars
import pyarrow

from ssm4rec.data.bad_rows import BadRows, Problem
from ssm4rec.data.delimited import ColumnError
from ssm4rec.data.download import Fetched, fetch
from ssm4rec.data.interactions import Columns, encode
from ssm4rec.data.readers import read_batches
from ssm4rec.data.source import Source, SourceOptions
from ssm4rec.data.streams import TextForm
from ssm4rec.data.values import is_text, plain, read_ids, read_texts
from ssm4rec.runtime.errors import InputError

NamedBatches = Iterable[tuple[str, Iterator[pyarrow.RecordBatch]]]
"""The batches of each file by its name, for messages."""


@dataclass(frozen=True)
class Table:
    """A file to read.

    Attributes:
        address: where it is.
        kind: its format.
        columns: the wanted ones, each with the flag that names it, or "".
    """

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


def read_tables(
    events: Sequence[Table], titles: Sequence[Table], options: SourceOptions, always_drop: Iterable[str] = ()
) -> Source:
    """Read files of events one after the other, and those of titles while the titles are asked for.

    Args:
        options: say which column is which, and how the files are written.
        always_drop: reasons to drop an event even where bad rows are refused.

    Raises:
        InputError: a file cannot be had, or a file or column is missing or malformed.
    """
    bad_rows, bad_titles = BadRows(options.bad_rows, always_drop), BadRows(options.bad_rows)
    event_files = [(table, fetch(table.address, options.cache_dir)) for table in events]
    title_files = [(table, fetch(table.address, options.cache_dir)) for table in titles]
    columns = Columns(options.user_column, options.item_column, options.time_column, options.rating_column)
    return Source(
        encode(_batches(event_files, options, bad_rows), columns, options.time_unit, bad_rows),
        _read_titles(_batches(title_files, options, bad_titles), options, bad_titles),
        tuple(file for _, file in (*event_files, *title_files)),
        bool(titles),
        bad_rows.dropped,
        bad_titles.dropped,
    )


def _batches(files: Iterable[tuple[Table, Fetched]], options: SourceOptions, bad_rows: BadRows) -> NamedBatches:
    ids = (options.user_column, options.item_column)
    form = TextForm(options.delimiter, options.encoding)

    def batches(table: Table, file: Fetched) -> Iterator[pyarrow.RecordBatch]:
        with table.naming_flags():
            yield from read_batches(file.path, table.kind, list(table.columns), ids, form, bad_rows)

    return ((str(file.path), batches(table, file)) for table, file in files)


def _read_titles(files: NamedBatches, options: SourceOptions, bad_rows: BadRows) -> Iterator[polars.DataFrame]:
    """Stream frames with ``item_id`` and ``title``; a row may lack an id or a title.

    Raises:
        InputError: a column is of a type that has no text form, or a value is not readable and not to be dropped.
    """
    for name, batches in files:
        row = 1
        for batch in batches:
            try:
                ids, problems = read_ids(batch.column(options.item_column), options.item_column, "item id")
                titles, undecodable = _texts(batch.column(options.title_column), options.title_column)
            except InputError as error:
                raise InputError(f"{name}, {error}") from None
            unreadable = [problem for problem in problems if not problem.reason.endswith("missing")]
            good = bad_rows.good([*unreadable, *undecodable], batch.num_rows, name, row)
            frame = polars.DataFrame({"item_id": ids, "title": polars.Series(titles)})
            yield frame if good is None else frame.filter(good)
            row += batch.num_rows


def _texts(column: pyarrow.Array, name: str) -> tuple[pyarrow.Array, list[Problem]]:
    column = plain(column)
    if is_text(column.type):
        return read_texts(column, name, "title")
    try:
        return column.cast(pyarrow.string()), []
    except pyarrow.ArrowNotImplementedError:  # lists and records have no text form
        raise InputError(f"column {name}: of type {column.type}; titles are texts") from None

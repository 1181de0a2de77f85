"""Titles of items, out of the files that name them."""

from collections.abc import Iterable, Iterator

import polars
import pyarrow

from ssm4rec.data.bad_rows import BadRows, Problem
from ssm4rec.data.values import is_text, plain, read_ids, read_texts
from ssm4rec.runtime.errors import InputError


def read_titles(
    files: Iterable[tuple[str, Iterator[pyarrow.RecordBatch]]], item_column: str, title_column: str, bad_rows: BadRows
) -> Iterator[polars.DataFrame]:
    """Stream frames with ``item_id`` and ``title``, file by file; a row may lack an id or a title.

    Args:
        files: names (for messages) and batches that have both columns.

    Raises:
        InputError: a column is of a type that has no text form, or a value is not readable and not to be dropped.
    """
    for name, batches in files:
        row = 1
        for batch in batches:
            try:
                ids, problems = read_ids(batch.column(item_column), item_column, "item id")
                titles, undecodable = _texts(batch.column(title_column), title_column)
            except InputError as error:
                raise InputError(f"{name}, {error}") from None
            unreadable = [problem for problem in problems if not problem.reason.endswith("missing")]
            good = bad_rows.good([*unreadable, *undecodable], batch.num_rows, name, row)
            frame = polars.DataFrame({"item_id": ids, "title": polars.Series(titles)})
            yield frame if good is None else frame.filter(polars.Series(good))
            row += batch.num_rows


def _texts(column: pyarrow.Array, name: str) -> tuple[pyarrow.Array, list[Problem]]:
    column = plain(column)
    if is_text(column.type):
        return read_texts(column, name, "title")
    try:
        return column.cast(pyarrow.string()), []
    except pyarrow.ArrowNotImplementedError:  # lists and records have no text form
        raise InputError(f"column {name}: of type {column.type}; titles are texts") from None

"""Delimited text with a header (CSV, TSV, RecBole's typed files) as record batches of the wanted columns.

Values come as bytes and are interpreted by whoever knows the column, so that a bad value is reported with its row and
no type is guessed from the first rows.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow
import pyarrow.csv

from ssm4rec.data.bad_rows import DROP_INSTEAD, BadRows
from ssm4rec.data.quoting import with_paired_quotes
from ssm4rec.data.row_kinds import RowKinds
from ssm4rec.data.streams import BLOCK_BYTES, DELIMITERS, TextForm, excerpt, one_line, open_text, readable
from ssm4rec.runtime.errors import InputError

_AUTOMATIC: Final = ("comma", "tab", "semicolon", "pipe")
_LONGEST_HEADER: Final = 1 << 20

# What RecBole writes after a column's name: https://recbole.io/docs/user_guide/data/atomic_files.html
RECBOLE_TYPES: Final = ("token", "float", "token_seq", "float_seq")


def read_csv(path: Path, columns: Sequence[str], form: TextForm, bad_rows: BadRows) -> Iterator[pyarrow.RecordBatch]:
    """Stream a file's wanted columns; raise InputError if it or one is missing, one is twice there, or a row is bad."""
    replace = bad_rows.drops_all
    with readable(path):
        kinds, header, skip = read_csv_header(path, columns, form, replace=replace)
        with (
            open_text(path, form.encoding, replace=replace) as text,
            with_paired_quotes(text, str(path), kinds, bad_rows) as stream,
        ):
            yield from read_delimited(stream, str(path), columns, Layout(kinds.delimiter, header, skip), bad_rows)


def read_csv_header(
    path: Path, columns: Sequence[str], form: TextForm, *, replace: bool = False
) -> tuple[RowKinds, list[str], int]:
    """Return what the rows look like, names for the columns that tell the wanted ones, and the lines before the rows.

    Raise InputError as :func:`read_csv` does, of the beginning of the file.
    """
    with open_text(path, form.encoding, replace=replace) as stream:
        start = stream.read(_LONGEST_HEADER)
    delimiter, names, blank_lines = _read_header(path, start, columns, form.delimiter)
    places = {find_column(column, names, str(path), RECBOLE_TYPES): column for column in columns}
    # Names that nobody asked for may repeat or be anything: they are replaced by numbers.
    header = [places.get(place, f"\0{place}") for place in range(len(names))]
    return RowKinds.of(start, delimiter, len(names), list(places)), header, blank_lines + 1


@dataclass(frozen=True)
class Layout:
    """Where the values of delimited text are.

    ``skip``: lines to pass over, such as the header's. ``quoted``: whether values may stand in double quotes and then
    hold delimiters and line ends.
    """

    delimiter: str
    header: Sequence[str]
    skip: int = 0
    quoted: bool = True


def read_delimited(
    stream: Any, name: str, columns: Sequence[str], layout: Layout, bad_rows: BadRows
) -> Iterator[pyarrow.RecordBatch]:
    """Stream columns of an open binary file in UTF-8, all of them as bytes; ``name`` is for messages."""

    def skip_row(_: pyarrow.csv.InvalidRow) -> str:
        bad_rows.malformed(name)
        return "skip"

    # Serial parsing is what makes Arrow count the rows for its messages; decompression still runs next to it.
    reading = pyarrow.csv.ReadOptions(
        use_threads=False, block_size=BLOCK_BYTES, column_names=layout.header, skip_rows_after_names=layout.skip
    )
    parsing = pyarrow.csv.ParseOptions(
        delimiter=layout.delimiter,
        quote_char='"' if layout.quoted else False,
        newlines_in_values=layout.quoted,
        invalid_row_handler=skip_row if bad_rows.drops_all else None,
    )
    converting = pyarrow.csv.ConvertOptions(
        include_columns=columns, column_types=dict.fromkeys(columns, pyarrow.binary()), strings_can_be_null=False
    )
    rows = 0
    try:
        for batch in pyarrow.csv.open_csv(stream, reading, parsing, converting):
            rows += batch.num_rows
            yield batch
    except pyarrow.ArrowInvalid as error:
        text = one_line(error)
        if "Empty CSV file" in text and not rows:
            return
        if row := re.search(r"Row #(\d+): (.*)", text):
            raise InputError(
                f"{name}, row {int(row[1]) - layout.skip}: {row[2]}; mend or remove the row{DROP_INSTEAD}"
            ) from None
        if "straddling object" in text:
            text = f"a row is longer than {BLOCK_BYTES >> 20} MiB, or a quote is never closed"
        raise InputError(f"{name}, after row {rows}: {text}; mend or remove the row") from None


class ColumnError(InputError):
    """A file lacks a wanted column, or has it several times."""

    def __init__(self, column: str, problem: str) -> None:
        super().__init__(problem)
        self.column = column


def find_column(column: str, names: Sequence[str], where: str, types: Sequence[str] = ()) -> int:
    """Return the place of a column by its name or, if no other has that, by its name and one of ``types``.

    Raise ColumnError if no column has the name, or several have.

    >>> find_column("user_id", ["item_id:token", "user_id:token"], "file", RECBOLE_TYPES)
    1
    """
    for accepted in ({column}, {f"{column}:{kind}" for kind in types}):
        places = [place for place, name in enumerate(names) if name in accepted]
        if len(places) > 1:
            raise ColumnError(
                column,
                f"{where}: the column {excerpt(column)!r} stands {len(places)} times; rename or remove all but one",
            )
        if places:
            return places[0]
    shown = ", ".join(excerpt(name) for name in names[:20]) + (", ..." if len(names) > 20 else "")
    raise ColumnError(column, f"{where}: no column {excerpt(column)!r}; its columns are {shown}")


def _read_header(path: Path, start: bytes, columns: Sequence[str], delimiter: str) -> tuple[str, list[str], int]:
    """Return the delimiter, the names and the number of blank lines above them.

    A name that is not UTF-8 stays as it can be shown: only wanted ones are looked for.
    """
    if not start.strip():
        raise InputError(f"{path}: no rows in it: the file is empty")
    if b"\0" in start.partition(b"\n")[0]:
        raise InputError(
            f"{path}: the header holds NUL bytes, so it is not text in UTF-8; set --encoding, such as utf-16-le, or "
            "--format"
        )
    candidates = _AUTOMATIC if delimiter == "auto" else (delimiter,)
    read = {name: _first_row(path, start, DELIMITERS[name]) for name in candidates}
    # The one that separates the wanted columns; else the one that separates most, for the message.
    best = max(candidates, key=lambda name: (_found(columns, read[name][0]), len(read[name][0])))
    return DELIMITERS[best], *read[best]


def _first_row(path: Path, start: bytes, delimiter: str) -> tuple[list[str], int]:
    # Latin-1 gives every byte back as it was.
    reader = csv.reader(io.StringIO(start.decode("latin-1"), newline=""), delimiter=delimiter)
    try:
        blank_lines, row = next((place, row) for place, row in enumerate(reader) if row)
    except csv.Error as error:
        raise InputError(f"{path}: the header is not readable ({error}); check --format") from None
    if len(start) == _LONGEST_HEADER and b"\n" not in start and b"\r" not in start:
        raise InputError(f"{path}: the header is longer than {_LONGEST_HEADER >> 20} MiB; check --format")
    return [name.encode("latin-1").decode("utf-8", "replace") for name in row], blank_lines


def _found(columns: Sequence[str], names: Sequence[str]) -> int:
    return sum(name.partition(":")[0] in columns or name in columns for name in names)

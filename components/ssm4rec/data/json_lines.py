"""JSON Lines as record batches of the wanted columns.

Arrow reads files whose columns are of one kind. From where that fails, and where rows are to be dropped, each line is
parsed on its own: that is ten times slower, takes 7 for "7", and names the line at fault.
"""

import io
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow
import pyarrow.json

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.delimited import find_column
from ssm4rec.data.streams import BLOCK_BYTES, TextForm, excerpt, open_text, readable
from ssm4rec.runtime.errors import InputError

_ROWS_FOR_TYPES: Final = 1000
_BATCH_ROWS: Final = 1 << 16


class _Whole(str):
    """A whole number as it is spelled."""


class _Fraction(str):
    """A number with a point or an exponent, as it is spelled, or NaN."""


def read_jsonl(
    path: Path, columns: Sequence[str], ids: Sequence[str], form: TextForm, bad_rows: BadRows
) -> Iterator[pyarrow.RecordBatch]:
    """Stream a file's wanted columns, an object a line; raise InputError if it or one is missing, or a line is bad."""
    lines = _Lines(path, columns, ids, form, bad_rows)
    with readable(path):
        schema = lines.schema()
        rows = 0
        if schema is not None and not bad_rows.drops_all:
            try:
                with open_text(path, form.encoding) as stream:
                    reading = pyarrow.json.ReadOptions(block_size=BLOCK_BYTES)
                    parsing = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
                    for batch in pyarrow.json.open_json(stream, reading, parsing):
                        rows += batch.num_rows
                        yield batch
            except pyarrow.ArrowInvalid:
                pass  # a value of another kind, or a malformed line: the reading by lines finds out which
            else:
                return
        yield from lines.batches(skip=rows)


def check_jsonl_columns(path: Path, columns: Sequence[str], form: TextForm, bad_rows: BadRows) -> None:
    """Raise InputError if the first rows lack a column, or cannot be read and are not to be dropped."""
    with readable(path):
        _Lines(path, columns, (), form, bad_rows).schema()


@dataclass(frozen=True)
class _Lines:
    path: Path
    columns: Sequence[str]
    ids: Sequence[str]
    form: TextForm
    bad_rows: BadRows

    def schema(self) -> pyarrow.Schema | None:
        """Tell the wanted columns' types by the first rows; None if a column is of several kinds."""
        found: dict[str, set[type]] = {}
        for _, values in itertools.islice(self._objects(BadRows(self.bad_rows.mode)), _ROWS_FOR_TYPES):
            for name, value in values.items():
                found.setdefault(name, set()).add(type(value))
        if not found:
            raise InputError(f"{self.path}: no rows in it")
        for column in self.columns:
            find_column(column, list(found), str(self.path))
        types = {column: _arrow_type(found[column] - {type(None)}, column in self.ids) for column in self.columns}
        return None if None in types.values() else pyarrow.schema(list(types.items()))

    def batches(self, skip: int) -> Iterator[pyarrow.RecordBatch]:
        """Stream the rows after the first ``skip``, all values as bytes of UTF-8."""
        rows = self._rows(skip)
        schema = pyarrow.schema([(column, pyarrow.binary()) for column in self.columns])
        while batch := list(itertools.islice(rows, _BATCH_ROWS)):
            yield pyarrow.RecordBatch.from_arrays(
                [pyarrow.array(values, pyarrow.binary()) for values in zip(*batch, strict=True)], schema=schema
            )

    def _rows(self, skip: int) -> Iterator[list[bytes | None]]:
        for line, values in itertools.islice(self._objects(self.bad_rows), skip, None):
            try:
                yield [_as_bytes(column, values.get(column), column in self.ids) for column in self.columns]
            except ValueError as error:
                self._malformed(self.bad_rows, line, str(error))

    def _objects(self, bad_rows: BadRows) -> Iterator[tuple[int, dict[str, Any]]]:
        """Give each object with the number of its line; numbers stay as they are spelled."""
        with open_text(self.path, self.form.encoding) as stream:
            for line, text in enumerate(_bounded_lines(stream, self.path), 1):
                if not text.strip():
                    continue
                try:
                    values = json.loads(
                        text.decode("utf-8", "surrogateescape"),
                        parse_int=_Whole,
                        parse_float=_Fraction,
                        parse_constant=_Fraction,
                        object_pairs_hook=self._without_repetition,
                    )
                except _RepeatedError as error:
                    self._malformed(bad_rows, line, str(error))
                    continue
                except (ValueError, RecursionError):
                    values = None
                if isinstance(values, dict):
                    yield line, values
                else:
                    shown = repr(excerpt(text.decode("utf-8", "replace").strip()))
                    hint = "; write one JSON object a line" if text.strip() in (b"[", b"{") else ""
                    self._malformed(bad_rows, line, f"not a JSON object: {shown}{hint}")

    def _without_repetition(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            names = [name for name, _ in pairs]
            for column in self.columns:
                if names.count(column) > 1:
                    raise _RepeatedError(f"{column!r} stands {names.count(column)} times in one object")
        return values

    def _malformed(self, bad_rows: BadRows, line: int, what: str) -> None:
        bad_rows.malformed(f"{self.path}, line {line}: {what}; mend or remove the line")


class _RepeatedError(Exception):
    """A wanted name stands more than once in an object."""


def _bounded_lines(stream: pyarrow.NativeFile, path: Path) -> Iterator[bytes]:
    buffered = io.BufferedReader(stream, 1 << 20)
    for number, line in enumerate(iter(lambda: buffered.readline(BLOCK_BYTES + 1), b""), 1):
        if len(line) > BLOCK_BYTES:
            raise InputError(
                f"{path}, line {number}: longer than {BLOCK_BYTES >> 20} MiB; is each line one JSON object?"
            )
        yield line


def _arrow_type(kinds: set[type], is_id: bool) -> pyarrow.DataType | None:
    if kinds <= {str}:
        return pyarrow.string()
    if kinds == {_Whole}:
        return pyarrow.int64()
    # Doubles hold ratings, and times in seconds or milliseconds that are not all whole.
    return pyarrow.float64() if kinds <= {_Whole, _Fraction} and not is_id else None


def _as_bytes(column: str, value: Any, is_id: bool) -> bytes | None:
    """Spell a value, an id of 7.0 as 7; raise ValueError if it is neither a text nor a number, or no id can be it."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"{column!r} is {excerpt(json.dumps(value))}, neither a text nor a number")
    if is_id and isinstance(value, _Fraction):
        number = float(value)
        if math.isnan(number):
            return None
        if not number.is_integer() or abs(number) > 2**53:
            raise ValueError(f"{column!r} is {value}; ids are texts or whole numbers")
        return str(int(number)).encode()
    try:
        # What was not UTF-8 in the file is not here either, and is found by whoever reads the column.
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogatepass")

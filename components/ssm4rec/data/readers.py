"""CSV, JSONL and Parquet as streams of record batches with the wanted columns only: memory stays bounded."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.delimited import find_column, read_csv, read_csv_header
from ssm4rec.data.json_lines import check_jsonl_columns, read_jsonl
from ssm4rec.data.streams import BLOCK_BYTES, TextForm, readable
from ssm4rec.data.values import is_text
from ssm4rec.runtime.errors import InputError

_PARQUET_BATCH_ROWS: Final = 1 << 18
_PARQUET_BATCH_BYTES: Final = 256 << 20
_FEWEST_ROWS: Final = 64


def read_batches(
    path: Path, kind: str, columns: Sequence[str], ids: Sequence[str], form: TextForm, bad_rows: BadRows
) -> Iterator[pyarrow.RecordBatch]:
    """Stream the wanted columns of a file of a kind: ``csv`` (delimited text with a header), ``jsonl`` or ``parquet``.

    The numbers of ``ids``, some of the columns, are names: JSON's 7 is never read as 7.0. Raise InputError if the file
    or a column is missing, or the file is malformed; also while the stream is read.
    """
    wanted = list(dict.fromkeys(columns))
    match kind:
        case "csv":
            return read_csv(path, wanted, form, bad_rows)
        case "jsonl":
            return read_jsonl(path, wanted, ids, form, bad_rows)
        case _:
            return _read_parquet(path, wanted)


def check_columns(path: Path, kind: str, columns: Sequence[str], form: TextForm, bad_rows: BadRows) -> None:
    """Raise what :func:`read_batches` raises of a file's beginning; the arguments are its own."""
    match kind:
        case "csv":
            with readable(path):
                read_csv_header(path, columns, form, replace=bad_rows.drops_all)
        case "jsonl":
            check_jsonl_columns(path, columns, form, bad_rows)
        case _:
            with readable(path), pyarrow.parquet.ParquetFile(path) as opened:
                _check_parquet_columns(opened, columns, path)


def _check_parquet_columns(opened: pyarrow.parquet.ParquetFile, columns: Sequence[str], path: Path) -> None:
    for column in columns:
        find_column(column, opened.schema_arrow.names, str(path))


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    with readable(path), pyarrow.parquet.ParquetFile(path) as opened:
        _check_parquet_columns(opened, columns, path)
        schema, rows = opened.schema_arrow, _rows_at_a_time(opened.metadata)
        texts = _readable_once(opened.metadata, [name for name in columns if is_text(schema.field(name).type)])
    # A text that stands in many rows is stored once, so a small file may hold gigabytes: it is also read once.
    with readable(path), pyarrow.parquet.ParquetFile(path, read_dictionary=texts) as opened:
        for batch in opened.iter_batches(rows, columns=list(columns)):
            # A name with a dot is also the path of a field in a record.
            yield from _bounded(_with_spelled_uuids(batch.select(columns)), path)


def _with_spelled_uuids(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """Return the batch with UUIDs as the texts that people know them by, 8-4-4-4-12 digits of base 16."""
    for place, field in enumerate(batch.schema):
        if isinstance(field.type, pyarrow.UuidType):
            texts = [None if value is None else str(value) for value in batch.column(place).to_pylist()]
            batch = batch.set_column(place, field.name, pyarrow.array(texts, pyarrow.string()))
    return batch


def _readable_once(metadata: pyarrow.parquet.FileMetaData, columns: Sequence[str]) -> list[str]:
    """Return those columns that Arrow can read as dictionaries: none of their pages has a DELTA encoding."""
    places = [place for place in range(metadata.num_columns) if metadata.schema.column(place).path in columns]
    delta = {
        chunk.path_in_schema
        for group in map(metadata.row_group, range(metadata.num_row_groups))
        for chunk in map(group.column, places)
        if any(encoding.startswith("DELTA") for encoding in chunk.encodings)
    }
    return [column for column in columns if column not in delta]


def _rows_at_a_time(metadata: pyarrow.parquet.FileMetaData) -> int:
    groups = [metadata.row_group(place) for place in range(metadata.num_row_groups)]
    widest = max((group.total_byte_size // max(1, group.num_rows) for group in groups), default=0)
    return min(_PARQUET_BATCH_ROWS, max(_FEWEST_ROWS, _PARQUET_BATCH_BYTES // max(1, widest)))


def _bounded(batch: pyarrow.RecordBatch, path: Path) -> Iterator[pyarrow.RecordBatch]:
    """Cut a batch so that the texts of each piece take bounded memory when they are written out row by row."""
    longest = 1
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pyarrow.types.is_dictionary(column.type) and is_text(column.type.value_type):
            length = pyarrow.compute.max(pyarrow.compute.binary_length(column.dictionary)).as_py() or 0
            if length > BLOCK_BYTES:
                raise InputError(
                    f"{path}, column {name}: a value is longer than {BLOCK_BYTES >> 20} MiB; choose another column"
                )
            longest = max(longest, length)
    rows = max(1, _PARQUET_BATCH_BYTES // longest)
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows)

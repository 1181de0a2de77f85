"""CSV, JSONL and Parquet as streams of record batches with the wanted columns only: memory stays bounded."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow
import pyarrow.parquet

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.delimited import find_column, read_csv
from ssm4rec.data.json_lines import read_jsonl
from ssm4rec.data.locations import file_name
from ssm4rec.data.streams import TextForm, readable
from ssm4rec.errors import InputError

FORMATS: Final = ("csv", "jsonl", "parquet")

_PARQUET_BATCH_ROWS: Final = 1 << 18
_COMPRESSION_ENDINGS: Final = (".gz", ".bz2", ".zst")
_FORMAT_OF_ENDING: Final = {
    ".csv": "csv", ".tsv": "csv", ".inter": "csv", ".item": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
    ".parquet": "parquet",
}  # fmt: skip


def guess_format(address: str) -> str:
    """Tell the format of a file by its name.

    Raises:
        InputError: the name does not tell.

    >>> guess_format("s3://bucket/clicks.jsonl.gz")
    'jsonl'
    """
    kind = format_of_name(address)
    if kind is None:
        raise InputError(f"{address}: the name does not tell the format; set --format to one of {', '.join(FORMATS)}")
    return kind


def format_of_name(address: str) -> str | None:
    """Return the format that the name of a file tells, or None.

    >>> format_of_name("ml-100k.inter"), format_of_name("clicks.txt")
    ('csv', None)
    """
    name = Path(file_name(address).lower())
    return _FORMAT_OF_ENDING.get((name.with_suffix("") if name.suffix in _COMPRESSION_ENDINGS else name).suffix)


def read_batches(
    path: Path,
    kind: str,
    columns: Sequence[str],
    ids: Sequence[str] = (),
    form: TextForm = TextForm(),  # noqa: B008 # frozen
    bad_rows: BadRows | None = None,
) -> Iterator[pyarrow.RecordBatch]:
    """Stream the wanted columns of a file.

    Args:
        kind: ``csv`` (delimited text with a header), ``jsonl`` or ``parquet``.
        columns: names; one that stands twice is read once.
        ids: those of them whose numbers are names, so that JSON's 7 is never read as 7.0.
        form: how CSV and JSONL are written.
        bad_rows: what becomes of malformed rows; by default they are refused.

    Raises:
        InputError: the file or a column is missing, or the file is malformed; also while the stream is read.
    """
    wanted = list(dict.fromkeys(columns))
    bad_rows = bad_rows or BadRows()
    match kind:
        case "csv":
            return read_csv(path, wanted, form, bad_rows)
        case "jsonl":
            return read_jsonl(path, wanted, ids, form, bad_rows)
        case "parquet":
            return _read_parquet(path, wanted)
        case _:
            raise InputError(f"--format {kind}: unknown format; use auto, {', '.join(FORMATS)}")


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    with readable(path), pyarrow.parquet.ParquetFile(path) as opened:
        names = opened.schema_arrow.names
        for column in columns:
            find_column(column, names, str(path))
        for batch in opened.iter_batches(_PARQUET_BATCH_ROWS, columns=list(columns)):
            # A name with a dot is also the path of a field in a record.
            yield batch.select(columns)

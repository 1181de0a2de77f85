"""CSV, JSONL and Parquet as streams of record batches with the wanted columns only: memory stays bounded.

CSV and JSONL may be gzipped (told by content, not by name). CSV values come as texts and are parsed by whoever knows
the column, so that a bad value is reported with its row and no type is guessed from the first rows.
"""

import gzip
import itertools
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pyarrow
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from ssm4rec.errors import InputError

FORMATS: Final = ("csv", "jsonl", "parquet")

# One block is parsed at a time; a row must fit into it. Raw Amazon reviews reach some 100 kB a row.
_BLOCK_BYTES: Final = 16 << 20
_PARQUET_BATCH_ROWS: Final = 1 << 18
_GZIP_MAGIC: Final = b"\x1f\x8b"
_JSON_ROWS_FOR_TYPES: Final = 1000


def guess_format(address: str) -> str:
    """Tell the format of a file by its name.

    Raises:
        InputError: the name does not tell.

    >>> guess_format("s3://bucket/clicks.jsonl.gz")
    'jsonl'
    """
    name = urlsplit(address).path.lower().removesuffix(".gz")
    for ending, kind in ((".csv", "csv"), (".jsonl", "jsonl"), (".ndjson", "jsonl"), (".parquet", "parquet")):
        if name.endswith(ending):
            return kind
    raise InputError(f"{address}: the name does not tell the format; set --format to one of {', '.join(FORMATS)}")


def read_batches(
    path: Path, kind: str, columns: Sequence[str], ids: Sequence[str] = ()
) -> Iterator[pyarrow.RecordBatch]:
    """Stream the wanted columns of a file.

    Args:
        kind: ``csv`` (comma separated, with a header), ``jsonl`` or ``parquet``.
        columns: names; one that stands twice is read once.
        ids: those of them whose numbers are names, so that JSON's 7 is never read as 7.0.

    Raises:
        InputError: the file or a column is missing, or the file is malformed; also while the stream is read.
    """
    wanted = list(dict.fromkeys(columns))
    match kind:
        case "csv":
            return _read_csv(path, wanted)
        case "jsonl":
            return _read_jsonl(path, wanted, ids)
        case "parquet":
            return _read_parquet(path, wanted)
        case _:
            raise InputError(f"--format {kind}: unknown format; use auto, {', '.join(FORMATS)}")


def read_delimited(
    stream: Any,
    name: str,
    columns: Sequence[str],
    *,
    delimiter: str = ",",
    header: Sequence[str] | None = None,
    quoted: bool = True,
) -> Iterator[pyarrow.RecordBatch]:
    """Stream columns of delimited text, all of them as texts.

    Args:
        stream: an open binary file.
        name: the file's name, for messages.
        header: the names of all columns if the text has no header line.
        quoted: whether values may stand in double quotes and then hold delimiters and line ends.
    """
    # Serial parsing is what makes Arrow name the line in its messages; decompression still runs beside it.
    reading = pyarrow.csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=header)
    parsing = pyarrow.csv.ParseOptions(
        delimiter=delimiter, quote_char='"' if quoted else False, newlines_in_values=quoted
    )
    converting = pyarrow.csv.ConvertOptions(
        include_columns=columns, column_types=dict.fromkeys(columns, pyarrow.string()), strings_can_be_null=False
    )
    return _counted(lambda: pyarrow.csv.open_csv(stream, reading, parsing, converting), name)


def _read_csv(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    with _readable(path):
        with _uncompressed(path) as stream:
            # Bad rows are left to the second reading, which can name them.
            parsing = pyarrow.csv.ParseOptions(invalid_row_handler=lambda _: "skip")
            _require(columns, pyarrow.csv.open_csv(stream, parse_options=parsing).schema.names, path)
        with _uncompressed(path) as stream:
            yield from read_delimited(stream, str(path), columns)


def _read_jsonl(path: Path, columns: Sequence[str], ids: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    with _readable(path):
        schema = _json_schema(path, columns, ids)
        with _uncompressed(path) as stream:
            reading = pyarrow.json.ReadOptions(block_size=_BLOCK_BYTES)
            parsing = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
            yield from _counted(lambda: pyarrow.json.open_json(stream, reading, parsing), str(path))


def _json_schema(path: Path, columns: Sequence[str], ids: Sequence[str]) -> pyarrow.Schema:
    """Tell the wanted columns' types by the file's first rows."""
    opener = gzip.open if _is_gzip(path) else open
    found: dict[str, set[type]] = {}
    with opener(path, "rb") as stream:
        for row, line in enumerate(itertools.islice(stream, _JSON_ROWS_FOR_TYPES), 1):
            if not line.strip():
                continue
            try:
                values = json.loads(line)
                for name, value in values.items():
                    found.setdefault(name, set()).add(type(value))
            except (ValueError, AttributeError):
                raise InputError(f"{path}, row {row}: not a JSON object: {_excerpt(line)}") from None
    if not found:
        raise InputError(f"{path}: no events in it")
    _require(columns, list(found), path)
    return pyarrow.schema([(name, _json_type(found[name] - {type(None)}, name in ids)) for name in columns])


def _json_type(kinds: set[type], is_id: bool) -> pyarrow.DataType:
    if kinds <= {int, float} and kinds:
        # A column of ratings may begin with whole numbers; doubles hold times in microseconds exactly.
        return pyarrow.int64() if is_id else pyarrow.float64()
    return pyarrow.string()


def _read_parquet(path: Path, columns: Sequence[str]) -> Iterator[pyarrow.RecordBatch]:
    with _readable(path), pyarrow.parquet.ParquetFile(path) as opened:
        _require(columns, opened.schema_arrow.names, path)
        yield from opened.iter_batches(_PARQUET_BATCH_ROWS, columns=list(columns))


def _counted(opening: Callable[[], Iterator[pyarrow.RecordBatch]], name: str) -> Iterator[pyarrow.RecordBatch]:
    """Pass batches on, and say where in the file a malformed row is."""
    rows = 0
    try:
        for batch in opening():
            rows += batch.num_rows
            yield batch
    except pyarrow.ArrowInvalid as error:
        text = " ".join(str(error).split())
        if line := re.search(r"Row #(\d+): (.*)", text):
            raise InputError(f"{name}, line {line[1]}: {line[2]}; mend or remove the line") from None
        if in_block := re.fullmatch(r"(?:JSON parse error: )?(.*?)\.? in row (\d+)", text):
            row = rows + int(in_block[2]) + 1
            raise InputError(f"{name}, row {row}: {in_block[1]}; mend or remove the row") from None
        raise InputError(f"{name}, after row {rows}: {text}; mend or remove the row") from None


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what goes wrong while ``path`` is read into one line."""
    if path.is_dir():
        raise InputError(f"{path}: a folder; name the file or files in it, separated by commas")
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pyarrow.ArrowInvalid, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: not readable ({_one_line(error)}); check --format or get the file again") from None
    except OSError as error:
        if error.errno is not None:
            raise
        # Arrow reports a damaged gzip stream or Parquet page this way.
        raise InputError(f"{path}: not readable ({_one_line(error)}); get the file again") from None


@contextmanager
def _uncompressed(path: Path) -> Iterator[pyarrow.NativeFile]:
    with pyarrow.OSFile(str(path)) as file:
        if _is_gzip(path):
            with pyarrow.CompressedInputStream(file, "gzip") as stream:
                yield stream
        else:
            yield file


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == _GZIP_MAGIC


def _require(columns: Sequence[str], existing: Sequence[str], path: Path) -> None:
    for column in columns:
        if column not in existing:
            raise InputError(f"{path}: no column {column!r}; its columns are {', '.join(existing)}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _excerpt(line: bytes) -> str:
    text = line.decode("utf-8", "replace").strip()
    return repr(text if len(text) <= 60 else text[:60] + "...")

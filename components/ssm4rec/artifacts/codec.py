"""One check for every file between stages, made where it is read.

A JSON document is described by a frozen dataclass or a typed dictionary, a Parquet table by a schema or by a dataclass
whose objects are its rows. Whatever is not as described (a missing or unknown type of a field, a number out of its
range, not a finite one, a missing value) becomes one :class:`InputError` that names file and field.
"""

import json
import os
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, is_dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from pydantic import ConfigDict, Field, GetPydanticSchema, TypeAdapter, ValidationError

from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.files import read_json, whole_file, write_json

T = TypeVar("T")

Count = Annotated[int, Field(ge=0, le=2**53)]
"""Of what can be counted: from 0 to the largest whole number that every reader of JSON keeps."""
Positive = Annotated[int, Field(ge=1, le=2**53)]
Share = Annotated[float, Field(ge=0, le=1)]
"""Metrics, probabilities, shares."""
Amount = Annotated[float, Field(ge=0, le=1e15)]
"""Seconds, bytes, rates."""
Number = Annotated[float, Field(ge=-1e15, le=1e15)]

OPEN: Final = ConfigDict(extra="allow")
"""Of a typed dictionary: it may hold more than is described, which is kept."""

_BUFFER_BYTES: Final = 1 << 20
"""Of a column that is read at a time; without it, a row group's whole column is."""

_ARROW: Final = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}


def shape(kind: Any) -> GetPydanticSchema:
    """Return what to annotate ``dict[str, Any]`` with, so that it is checked as a typed dictionary."""
    return GetPydanticSchema(lambda _, handler: handler(kind))


def read_document(path: Path, kind: type[T], what: str, made_by: str) -> T:
    """Read a JSON document that describes an object of a dataclass or a typed dictionary.

    Types are taken strictly: ``1`` is a float but ``"1"`` is not. For ``what`` and ``made_by`` see :class:`Document`.
    Raise InputError if it is missing, not JSON, or not as described.
    """
    document = read_made(path, made_by)
    try:
        return checked(document, kind)
    except ValueError as error:
        raise InputError(f"{path}: not {what} ({error}); run {made_by} again") from None


def read_made(path: Path, made_by: str) -> Any:
    """Read a JSON file of a stage as it is; raise InputError if it is missing, which says whose it is, or not JSON."""
    if not os.path.exists(path):  # noqa: PTH110 - a folder that may not be read is not missing
        raise InputError(f"{path}: no such file; run {made_by} first")
    return read_json(path)


class Document:
    """What a JSON file between stages holds, as an object: a frozen dataclass that inherits from this.

    Of the class: ``what`` it is, such as ``the metrics.json of an evaluation``, and ``made_by`` which stage.
    """

    _what: ClassVar[str]
    _made_by: ClassVar[str]

    def __init_subclass__(cls, what: str, made_by: str) -> None:
        super().__init_subclass__()
        cls._what, cls._made_by = what, made_by

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all."""
        write_json(path, asdict(self))  # type: ignore[call-overload] # a dataclass

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file; raise InputError if it is not one."""
        return read_document(path, cls, cls._what, cls._made_by)


def checked(document: Any, kind: type[T]) -> T:
    """Return what a JSON document, already parsed, describes, as an object of a dataclass or a typed dictionary.

    Raise ValueError that names the field if one is missing, unknown to the dataclass, or not of its type.
    """
    described = {field.name for field in fields(kind)} if is_dataclass(kind) else None
    if described and isinstance(document, dict) and (unknown := document.keys() - described):
        raise ValueError(f"{min(unknown)}: unknown")
    try:
        # Of the text, not of the objects: in it a tuple is a list.
        found: T = _adapter(kind).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise ValueError(_first(error, document)) from None
    return found


def schema_of(kind: type[Any]) -> pyarrow.Schema:
    """Return the schema of a table whose rows are objects of a dataclass; what may be None may be null."""
    found = get_type_hints(kind)
    return pyarrow.schema([pyarrow.field(field.name, *_arrow_type(found[field.name])) for field in fields(kind)])


def write_rows(path: Path, rows: Sequence[Any], kind: type[Any]) -> None:
    """Write objects of a dataclass as a table, whole or not at all."""
    write_table(path, pyarrow.Table.from_pylist([asdict(row) for row in rows], schema_of(kind)))


def required(kind: pyarrow.DataType, *names: str) -> list[pyarrow.Field]:
    """Return columns of one type without missing values."""
    return [pyarrow.field(name, kind, nullable=False) for name in names]


def write_table(path: Path, table: pyarrow.Table) -> None:
    """Write a table, whole or not at all."""
    write_blocks(path, [table])


def write_blocks(path: Path, blocks: Iterable[pyarrow.Table]) -> None:
    """Write tables of one schema, at least one, as one table, each in row groups of its own; whole or not at all."""
    left = iter(blocks)
    first = next(left)
    with whole_file(path) as partial, pyarrow.parquet.ParquetWriter(partial, first.schema) as file:
        for block in chain([first], left):
            file.write_table(block)


def read_rows(path: Path, kind: type[T], what: str, made_by: str) -> list[T]:
    """Read a table whose rows are objects of a dataclass; what has a default need not be a column.

    Raise InputError if ``read_table`` does, or a row is not one.
    """
    described: type[Any] = kind
    later = [field.name for field in fields(described) if field.default is not MISSING]
    rows = read_table(path, schema_of(kind), what, made_by, later).to_pylist()
    try:
        found: list[T] = _adapter(list[kind]).validate_python(rows)  # type: ignore[valid-type]
    except ValidationError as error:
        raise InputError(f"{path}: not {what} (row {_first(error, rows)}); run {made_by} again") from None
    return found


def read_table(
    path: Path, schema: pyarrow.Schema, what: str, made_by: str, optional: Sequence[str] = ()
) -> pyarrow.Table:
    """Read the columns of a schema, each of its type, in one chunk and with the file's metadata.

    ``optional`` columns are left out where the file has none.

    Raise InputError if it is missing or not Parquet, lacks a column or has it twice, a column is not of its type, is
    missing values that the schema does not allow or has numbers that are not finite, or there is no row.
    """
    with _opened(path, schema, what, made_by, optional) as (file, found):
        return _as_described(path, file.read(found.names), found, what, made_by)


def read_blocks(
    path: Path, schema: pyarrow.Schema, what: str, made_by: str, rows: int | None
) -> Iterator[pyarrow.Table]:
    """Yield a table as ``read_table`` returns it, up to ``rows`` at a time or, None, at once; raise as that does."""
    if rows is None:
        yield read_table(path, schema, what, made_by)
        return
    with _opened(path, schema, what, made_by, ()) as (file, found):
        for group in range(file.num_row_groups):  # what is read of lists is kept until their group has been read
            for block in file.iter_batches(rows, [group], found.names):
                yield _as_described(path, pyarrow.Table.from_batches([block]), found, what, made_by)


def read_head(path: Path, schema: pyarrow.Schema, what: str, made_by: str) -> tuple[dict[bytes, bytes] | None, int]:
    """Return a table's metadata and its number of rows; raise InputError if it lacks columns, or as ``read_table``."""
    with _opened(path, schema, what, made_by, ()) as (file, _):
        return file.schema_arrow.metadata, file.metadata.num_rows


@contextmanager
def _opened(
    path: Path, schema: pyarrow.Schema, what: str, made_by: str, optional: Sequence[str]
) -> Iterator[tuple[pyarrow.parquet.ParquetFile, pyarrow.Schema]]:
    """Yield a file to read, and the schema of those columns that it has; the file's metadata are the schema's."""
    try:
        with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES) as file:
            names = file.schema_arrow.names
            schema = pyarrow.schema([one for one in schema if one.name in names or one.name not in optional])
            for name in schema.names:
                if names.count(name) != 1:
                    number = "no column" if name not in names else "twice the column"
                    raise InputError(f"{path}: not {what}, it has {number} {name!r}; run {made_by} again")
            if not file.metadata.num_rows:
                raise InputError(f"{path}: empty, not {what}; run {made_by} again")
            yield file, schema.with_metadata(file.schema_arrow.metadata)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run {made_by} first") from None
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({reason(error)}); run {made_by} again") from None


def _as_described(path: Path, table: pyarrow.Table, schema: pyarrow.Schema, what: str, made_by: str) -> pyarrow.Table:
    table.validate(full=True)
    columns = [_column(path, table.column(field.name), field, what, made_by) for field in schema]
    return pyarrow.table(columns, schema=schema).combine_chunks()


def text_of(metadata: dict[bytes, bytes] | None, key: bytes) -> str:
    """Return an entry of a table's metadata, empty where there is none."""
    return (metadata or {}).get(key, b"").decode(errors="replace")


def _column(
    path: Path, column: pyarrow.ChunkedArray, field: pyarrow.Field, what: str, made_by: str
) -> pyarrow.ChunkedArray:
    def refuse(wrong: str) -> InputError:
        return InputError(f"{path}: not {what}, column {field.name} {wrong}; run {made_by} again")

    if pyarrow.types.is_list(field.type) != pyarrow.types.is_list(column.type):
        raise refuse(f"is {column.type}, not {field.type}")
    try:
        column = column.cast(field.type)
    except (pyarrow.ArrowException, ValueError) as error:
        raise refuse(f"is not {field.type} ({reason(error)})") from None
    values = pyarrow.compute.list_flatten(column) if pyarrow.types.is_list(column.type) else column
    if not field.nullable and (column.null_count or values.null_count):
        raise refuse("has missing values")
    if pyarrow.types.is_floating(values.type) and not numpy.isfinite(values.drop_null().to_numpy()).all():
        raise refuse("has numbers that are not finite")
    return column


_adapter: Callable[[Any], TypeAdapter[Any]] = lru_cache(TypeAdapter)  # making one takes milliseconds


def _first(error: ValidationError, document: Any) -> str:
    """Return where the first thing wrong is, and what is wrong."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "union_tag_not_found":  # what tells the kinds apart is a field like the others
        where, message = f"{where}.{first['ctx']['discriminator'].strip(chr(39))}", "Field required"
    if not where and first["type"] != "value_error":  # what an object says of itself names its field
        where = type(document).__name__
    return reason(ValueError(f"{where}: {message}" if where else message))


def _arrow_type(hint: Any) -> tuple[pyarrow.DataType, bool]:
    """Return the type of a column, and whether it may be null."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _arrow_type(arguments[0])
    if origin in (Union, types.UnionType):
        (inner,) = [one for one in arguments if one is not type(None)]
        return _arrow_type(inner)[0], True
    if origin is Literal:
        return pyarrow.string(), False
    if origin is list:
        return pyarrow.list_(_arrow_type(arguments[0])[0]), False
    return _ARROW[hint], False

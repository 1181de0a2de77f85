"""Damages one file in a way drawn by a seed: its bytes, or what it holds by its format."""

import gzip
import json
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

Bytes = Callable[[bytes, random.Random], bytes]

VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63) - 1, 10**400, 0.5, -0.0, 1e308, 1e-320, float("nan"),
    float("inf"), float("-inf"), "", " ", "x", "0", "NAN", "1e999", "\x00", "\x1b[31m", "\ud800", "é" * 300, "<b>&",
    "../../x", "x" * 5000, [], {}, [None], {"a": 1}, [[]], [1, "a"], [float("nan")], ["a"] * 50, -5.5,
]  # fmt: skip
"""What a JSON value is replaced by. NAN: a text that float() reads; ``nan``, as a name that a report shows, would look
like a number that went wrong."""

FIELDS = [
    "", " ", "nan", "inf", "-1", "0", "1e400", "99999999999999999999999", "\x00", "\ufeff", '"', "'", ",", "é", "\\N",
    "null", "2024-13-45", "1970-01-01", "1600000000000", "9" * 400, "x" * 3000, "NaN", "-0", "0x10", "1_0", "١٢",
    "a\tb", "=1+1", "--", "1.5", "true", "\x1b[0m",
]  # fmt: skip
"""What a field of a text table is replaced by."""


def mutate(path: Path, chance: random.Random) -> str:
    """Damage a file in place and return what was done."""
    if chance.random() < 0.02:
        return _misplaced(path, chance)
    data = path.read_bytes()
    special = _mutators(path.name, data)
    if special and chance.random() < 0.75:
        name, change = chance.choice(special)
    else:
        name, change = chance.choice(_BYTES)
    path.write_bytes(change(data, chance))
    return name


def _misplaced(path: Path, chance: random.Random) -> str:
    path.unlink()
    if chance.random() < 0.5:
        path.mkdir()
        return "a folder"
    return "missing"


def _mutators(name: str, data: bytes) -> list[tuple[str, Bytes]]:
    if data[:4] == b"PAR1":
        return _PARQUET
    if data[:2] == b"\x1f\x8b":
        return [("in gzip", _in_gzip)]
    if data[:2] == b"PK":
        return _ZIP
    if name.endswith(".safetensors"):
        return _TENSORS
    if data[:1] in b"{[" and _is_json(data):
        return _JSON
    return _TABLE


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


# Bytes of any file.


def _flip(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8, 64))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _block(data: bytes, chance: random.Random, filling: bytes) -> bytes:
    begin = chance.randrange(len(data) + 1)
    length = chance.choice((1, 8, 64, 512))
    return data[:begin] + filling * min(length, len(data) - begin) + data[begin + length :]


def _cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) + 1)]


def _insert(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data) + 1)
    return data[:begin] + chance.choice((b"\x00", b"\xff\xfe", b"\r", b"\n", chance.randbytes(16))) + data[begin:]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data) + 1)
    return data[: begin + 100] + data[begin:]


def _remove(data: bytes, chance: random.Random) -> bytes:
    begin = chance.randrange(len(data) + 1)
    return data[:begin] + data[begin + chance.choice((1, 10, 100)) :]


_BYTES: list[tuple[str, Bytes]] = [
    ("flip", _flip),
    ("flip", _flip),
    ("zeroes", lambda data, chance: _block(data, chance, b"\x00")),
    ("ones", lambda data, chance: _block(data, chance, b"\xff")),
    ("cut", _cut),
    ("insert", _insert),
    ("repeat", _repeat),
    ("remove", _remove),
    ("empty", lambda data, chance: b""),
    ("garbage", lambda data, chance: chance.randbytes(200)),
]


# JSON.


def _places(node: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [where]
    if isinstance(node, dict):
        found += [place for key, value in node.items() for place in _places(value, (*where, key))]
    elif isinstance(node, list):
        found += [place for key, value in enumerate(node[:3]) for place in _places(value, (*where, key))]
    return found


def _near(chance: random.Random, places: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Draw a place, those near the root more often than their number says."""
    depth = chance.choice(sorted({len(place) for place in places}))
    return chance.choice([place for place in places if len(place) == depth])


def _parent(document: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        document = document[key]
    return document


def _json_value(data: bytes, chance: random.Random) -> bytes:
    document = json.loads(data)
    place = _near(chance, _places(document))
    value = chance.choice(VALUES)
    if not place:
        return json.dumps(value).encode()
    _parent(document, place)[place[-1]] = value
    return json.dumps(document).encode()


def _json_without(data: bytes, chance: random.Random) -> bytes:
    document = json.loads(data)
    place = _near(chance, _places(document))
    if place:
        del _parent(document, place)[place[-1]]
    return json.dumps(document).encode()


def _json_renamed(data: bytes, chance: random.Random) -> bytes:
    document = json.loads(data)
    place = _near(chance, _places(document))
    parent = _parent(document, place) if place else None
    if isinstance(parent, dict):
        parent[chance.choice((f"{place[-1]}_", "", "__class__", "é", str(place[-1]).upper()))] = parent.pop(place[-1])
    return json.dumps(document).encode()


def _json_swapped(data: bytes, chance: random.Random) -> bytes:
    document = json.loads(data)
    places = [place for place in _places(document) if place]
    if len(places) > 1:
        first, second = chance.sample(places, 2)
        value = json.loads(json.dumps(_parent(document, second)[second[-1]]))
        _parent(document, first)[first[-1]] = value
    return json.dumps(document).encode()


def _json_twice(data: bytes, chance: random.Random) -> bytes:
    """A key twice, or two documents."""
    text = json.dumps(json.loads(data))
    if text[0] == "{" and len(text) > 2 and chance.random() < 0.7:
        key = chance.choice(list(json.loads(text)))
        return f"{{{json.dumps(key)}: {json.dumps(chance.choice(VALUES))}, {text[1:]}".encode()
    return (text + text).encode()


def _json_extra(data: bytes, chance: random.Random) -> bytes:
    document = json.loads(data)
    places = [place for place in _places(document) if isinstance(_parent(document, (*place, "")), dict)]
    if places:
        place = _near(chance, places)
        _parent(document, (*place, ""))[chance.choice(("extra", "", "a b"))] = chance.choice(VALUES)
    return json.dumps(document).encode()


def _json_deep(data: bytes, chance: random.Random) -> bytes:
    depth = chance.choice((50, 5_000, 100_000))
    return b"[" * depth + b"]" * depth


def _encoded(data: bytes, chance: random.Random) -> bytes:
    text = data.decode("utf-8", "replace")
    encoding = chance.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037", "utf-7"))
    return text.encode(encoding, "replace")


_JSON: list[tuple[str, Bytes]] = [
    *[("json value", _json_value)] * 6,
    *[("json without", _json_without)] * 3,
    *[("json renamed", _json_renamed)] * 2,
    ("json swapped", _json_swapped),
    ("json twice", _json_twice),
    ("json extra", _json_extra),
    ("json deep", _json_deep),
    ("encoding", _encoded),
]


# Parquet.


def _parquet(change: Callable[[pyarrow.Table, random.Random], pyarrow.Table]) -> Bytes:
    def mutated(data: bytes, chance: random.Random) -> bytes:
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
        if not table.num_columns:
            return data
        sink = pyarrow.BufferOutputStream()
        groups = chance.choice((None, None, 3))
        pyarrow.parquet.write_table(change(table, chance), sink, row_group_size=groups)
        return sink.getvalue().to_pybytes()

    return mutated


def _column(table: pyarrow.Table, chance: random.Random) -> int:
    return chance.randrange(table.num_columns)


def _dropped(table: pyarrow.Table, chance: random.Random) -> pyarrow.Table:
    return table.remove_column(_column(table, chance))


def _renamed(table: pyarrow.Table, chance: random.Random) -> pyarrow.Table:
    names = table.column_names
    names[_column(table, chance)] = chance.choice((names[0], "x", "", names[-1].upper()))
    return table.rename_columns(names)


def _doubled(table: pyarrow.Table, chance: random.Random) -> pyarrow.Table:
    place = _column(table, chance)
    return table.append_column(table.column_names[place], table.column(place))


def _set(table: pyarrow.Table, place: int, values: list[Any], kind: pyarrow.DataType) -> pyarrow.Table:
    return table.set_column(place, table.column_names[place], pyarrow.array(values, kind))


def _retyped(table: pyarrow.Table, chance: random.Random) -> pyarrow.Table:
    place = _column(table, chance)
    values = table.column(place).to_pylist()
    as_text = [None if value is None else str(value) for value in values]
    match chance.randrange(7):
        case 0:
            return _set(table, place, as_text, pyarrow.string())
        case 1:
            return _set(table, place, [text and text.encode() for text in as_text], pyarrow.binary())
        case 2:
            return _set(table, place, [[value] for value in as_text], pyarrow.list_(pyarrow.string()))
        case 3:
            return _set(table, place, [None] * len(values), pyarrow.null())
        case 4:
            return _set(table, place, [chance.random() * 9 for _ in values], pyarrow.float64())
        case 5:
            return _set(table, place, [{"a": text} for text in as_text], pyarrow.struct([("a", pyarrow.string())]))
        case _:
            return _set(table, place, [chance.randrange(-3, 9) for _ in values], pyarrow.int64())


def _extreme(kind: pyarrow.DataType, chance: random.Random) -> Any:
    if pyarrow.types.is_list(kind):
        inner = kind.value_type
        return chance.choice(([], None, [None], [_extreme(inner, chance)], [_extreme(inner, chance)] * 30))
    if pyarrow.types.is_integer(kind):
        limit = 2 ** (kind.bit_width - 1)
        return chance.choice((-1, 0, 1, limit - 1, -limit, None, 7))
    if pyarrow.types.is_floating(kind):
        return chance.choice((float("nan"), float("inf"), float("-inf"), 1e308, -1.0, 0.0, None))
    if pyarrow.types.is_boolean(kind):
        return chance.choice((True, False, None))
    return chance.choice((None, "", "x" * 3000, "\x00", "\x1b[0m", "<b>", "NAN"))


def _cells(table: pyarrow.Table, chance: random.Random) -> pyarrow.Table:
    """Extreme values in one cell, some or all of a column."""
    place = _column(table, chance)
    kind, values = table.schema.field(place).type, table.column(place).to_pylist()
    share = chance.choice((0, 0, 0.3, 1))
    value = _extreme(kind, chance)
    if values:
        values[chance.randrange(len(values))] = value
    values = [value if chance.random() < share else kept for kept in values]
    try:
        return _set(table, place, values, kind)
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):
        return table.slice(0, 0)


def _rows(table: pyarrow.Table, chance: random.Random) -> pyarrow.Table:
    count = table.num_rows
    orders = (
        [], list(range(count))[::-1], chance.sample(range(count), count), list(range(count)) * 2,
        list(range(max(count - 1, 0))), [0] * count, list(range(min(count, 1))),
    )  # fmt: skip
    return table.take(pyarrow.array(chance.choice(orders), pyarrow.int64()))


def _metadata(table: pyarrow.Table, chance: random.Random) -> pyarrow.Table:
    found = dict(table.schema.metadata or {})
    if not found or chance.random() < 0.3:
        return table.replace_schema_metadata(None)
    key = chance.choice(list(found))
    found[key] = chance.choice((b"", b"\xff", b"-1", b"x" * 200, b"test", b"99999999999999999999", b"1.5"))
    return table.replace_schema_metadata(found)


_PARQUET: list[tuple[str, Bytes]] = [
    ("column dropped", _parquet(_dropped)),
    ("column renamed", _parquet(_renamed)),
    ("column doubled", _parquet(_doubled)),
    *[("column retyped", _parquet(_retyped))] * 2,
    *[("cells", _parquet(_cells))] * 5,
    *[("rows", _parquet(_rows))] * 2,
    ("metadata", _parquet(_metadata)),
]


# Safetensors: a length, a JSON header, and the numbers.


def _split_tensors(data: bytes) -> tuple[dict[str, Any], bytearray]:
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])


def _join_tensors(header: dict[str, Any], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(body)


def _tensor_name(header: dict[str, Any], chance: random.Random) -> str:
    return chance.choice([name for name in header if name != "__metadata__"])


def _tensor_numbers(data: bytes, chance: random.Random) -> bytes:
    header, body = _split_tensors(data)
    begin, end = header[_tensor_name(header, chance)]["data_offsets"]
    count = max(1, chance.choice((1, (end - begin) // 4)))
    value = struct.pack("<f", chance.choice((float("nan"), float("inf"), 1e38, 0.0)))
    body[begin : begin + 4 * count] = value * count
    return _join_tensors(header, bytes(body[:end]) + bytes(body[end:]))


def _tensor_gone(data: bytes, chance: random.Random) -> bytes:
    """A tensor missing; the file stays a whole one."""
    header, body = _split_tensors(data)
    gone = _tensor_name(header, chance)
    kept, numbers = {}, bytearray()
    for name, entry in header.items():
        if name in (gone, "__metadata__"):
            continue
        begin, end = entry["data_offsets"]
        kept[name] = {**entry, "data_offsets": [len(numbers), len(numbers) + end - begin]}
        numbers += body[begin:end]
    return _join_tensors(kept, numbers)


def _tensor_header(data: bytes, chance: random.Random) -> bytes:
    header, body = _split_tensors(data)
    name = _tensor_name(header, chance)
    match chance.randrange(4):
        case 0:
            header[name]["shape"] = header[name]["shape"][::-1]
        case 1:
            header[name]["shape"] = [int(numpy.prod(header[name]["shape"]))]
        case 2:
            header[name]["dtype"] = chance.choice(("I32", "U32", "F64", "BF16", "X", "F32"))
        case _:
            header[f"{name}.other"] = header.pop(name)
    return _join_tensors(header, body)


def _tensor_json(data: bytes, chance: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    text = chance.choice(_JSON)[1](data[8 : 8 + length], chance)
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


_TENSORS: list[tuple[str, Bytes]] = [
    *[("tensor numbers", _tensor_numbers)] * 3,
    ("tensor gone", _tensor_gone),
    ("tensor header", _tensor_header),
    ("tensor json", _tensor_json),
]


# Text tables, a line a row.


def _lines(change: Callable[[list[bytes], random.Random], list[bytes]]) -> Bytes:
    def mutated(data: bytes, chance: random.Random) -> bytes:
        lines = data.splitlines(keepends=True)
        return b"".join(change(lines, chance)) if lines else data

    return mutated


def _row(lines: list[bytes], chance: random.Random) -> int:
    return chance.choice((0, len(lines) - 1, chance.randrange(len(lines))))


def _separator(line: bytes) -> bytes:
    return max((b",", b"\t", b"::", b"|", b";"), key=line.count)


def _field(lines: list[bytes], chance: random.Random) -> list[bytes]:
    place = _row(lines, chance)
    line = lines[place].rstrip(b"\r\n")
    if line[:1] == b"{" and _is_json(line):
        change = chance.choice(_JSON[:-2])[1]
        return [*lines[:place], change(line, chance) + b"\n", *lines[place + 1 :]]
    separator = _separator(line)
    fields = line.split(separator)
    fields[chance.randrange(len(fields))] = chance.choice(FIELDS).encode()
    return [*lines[:place], separator.join(fields) + b"\n", *lines[place + 1 :]]


def _field_count(lines: list[bytes], chance: random.Random) -> list[bytes]:
    place = _row(lines, chance)
    separator = _separator(lines[place])
    fields = lines[place].rstrip(b"\r\n").split(separator)
    where = chance.randrange(len(fields))
    fields = fields[:where] + chance.choice(([], [b"1", fields[where]], [fields[where]] * 2)) + fields[where + 1 :]
    return [*lines[:place], separator.join(fields) + b"\n", *lines[place + 1 :]]


def _every_field(lines: list[bytes], chance: random.Random) -> list[bytes]:
    """One column of every row but the first."""
    separator = _separator(lines[0])
    place = chance.randrange(lines[0].count(separator) + 1)
    value = chance.choice(FIELDS).encode()
    changed = []
    for line in lines[1:]:
        fields = line.rstrip(b"\r\n").split(separator)
        if place < len(fields):
            fields[place] = value
        changed.append(separator.join(fields) + b"\n")
    return [lines[0], *changed]


def _line_order(lines: list[bytes], chance: random.Random) -> list[bytes]:
    place = _row(lines, chance)
    return chance.choice((
        lines[:place] + lines[place + 1 :], [*lines, lines[place]], lines[1:], lines[:1], [b"\n", *lines], lines * 2,
        [line.rstrip(b"\n") + b"\r\n" for line in lines], [line.rstrip(b"\n") + b"\r" for line in lines],
        [*lines[:place], b"x" * 300_000, *lines[place:]],
    ))  # fmt: skip


_TABLE: list[tuple[str, Bytes]] = [
    *[("field", _lines(_field))] * 5,
    *[("every field", _lines(_every_field))] * 2,
    *[("number of fields", _lines(_field_count))] * 2,
    ("lines", _lines(_line_order)),
    *[("encoding", _encoded)] * 2,
]


# Compressed.


def _in_gzip(data: bytes, chance: random.Random) -> bytes:
    plain = gzip.decompress(data)
    inner = _mutators("", plain)
    return gzip.compress(chance.choice([*inner, *_BYTES])[1](plain, chance))


def _zip(change: Callable[[dict[str, bytes], random.Random], dict[str, bytes]]) -> Bytes:
    def mutated(data: bytes, chance: random.Random) -> bytes:
        import io

        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        sink = io.BytesIO()
        method = chance.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2))
        with zipfile.ZipFile(sink, "w", method) as archive:
            for name, content in change(members, chance).items():
                archive.writestr(name, content)
        return sink.getvalue()

    return mutated


def _member_changed(members: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    name = chance.choice(list(members))
    return members | {name: chance.choice([*_TABLE, *_BYTES])[1](members[name], chance)}


def _member_moved(members: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    name = chance.choice(list(members))
    content = members[name]
    rest = {other: value for other, value in members.items() if other != name}
    new = chance.choice((None, f"../{name}", f"x/{name}", name.upper(), f"{name}/"))
    return rest if new is None else rest | {new: content}


_ZIP: list[tuple[str, Bytes]] = [
    *[("member", _zip(_member_changed))] * 3,
    ("member moved", _zip(_member_moved)),
]


def copy(source: Path, target: Path) -> None:
    """Copy a file or a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)

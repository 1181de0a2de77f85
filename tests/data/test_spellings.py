"""The same events in every spelling that files have: the same data, or one line that says what is wrong."""
# ruff: noqa: E501 # tables, one case a line

import bz2
import codecs
import datetime
import gzip
import json
import lzma
import tracemalloc
import uuid
import zipfile
from decimal import Decimal

import numpy
import polars
import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.data_sets import read_data_set
from ssm4rec.data.event_order import in_order
from ssm4rec.data.readers import read_batches
from ssm4rec.data.source import SourceOptions
from ssm4rec.data.streams import BLOCK_BYTES, TextForm
from ssm4rec.runtime.errors import InputError

# User, item, second, rating; neither ids nor times in order, and no two times the same.
EVENTS = [(n * 7 % 11 + 1, n * 5 % 13 + 1, 1_600_000_000 + n * 3701 % 4001, n % 5 + 1) for n in range(60)]
NAMES = ("user_id", "item_id", "timestamp", "rating")
EXPECTED = [(str(user), str(item), second * 1000, rating) for user, item, second, rating in EVENTS]


def read(path, **options):
    """Return the events as (user, item, milliseconds, rating), in the order of the files, and the Source."""
    options = {"rating_column": "rating", **options}
    source = read_data_set(SourceOptions("events", path.parent / "cache", options.pop("source", str(path)), **options))
    frame = source.interactions.frame.cast({"user": polars.String, "item": polars.String, "rating": polars.Int64})
    if source.interactions.time_unit != "order":
        frame = frame.with_columns(polars.col("time") // 1000)
    return frame.rows(), source


def refusal(path, **options):
    """Return the one line that refuses a file."""
    with pytest.raises(InputError) as raised:
        read(path, **options)
    line = str(raised.value)
    assert line.isprintable()
    assert len(line) < 1000
    return line


def delimited(delimiter=",", header=NAMES, rows=EVENTS, end="\n"):
    return "".join(delimiter.join(map(str, row)) + end for row in (header, *rows))


def replaced(row, column, value):
    """Return the events with one value changed; rows count from 1."""
    rows = [list(event) for event in EVENTS]
    rows[row - 1][NAMES.index(column)] = value
    return rows


def objects(rows=EVENTS):
    return "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in rows)


PLAIN = delimited()
CSV = {
    "crlf.csv": delimited(end="\r\n").encode(),
    "semicolon.csv": delimited(";").encode(),
    "tab.tsv": delimited("\t").encode(),
    "pipe.csv": delimited("|").encode(),
    "recbole.inter": delimited(
        "\t", ("user_id:token", "item_id:token", "timestamp:float", "rating:float"),
        [(user, item, float(second), rating) for user, item, second, rating in EVENTS],
    ).encode(),
    "quoted.csv": delimited('","').replace("\n", '"\n"').removesuffix('"').join('"\n').removesuffix("\n").encode(),
    "comma-in-other-column.csv": delimited(";", (*NAMES, "a,b,c,d"), [(*row, "x,y") for row in EVENTS]).encode(),
    "mark.csv": codecs.BOM_UTF8 + PLAIN.encode(),
    "utf16.csv": PLAIN.encode("utf-16"),
    "utf16be.csv": codecs.BOM_UTF16_BE + PLAIN.encode("utf-16-be"),
    "utf32.csv": PLAIN.encode("utf-32"),
    "latin1-header.csv": delimited(",", (*NAMES, "Größe"), [(*row, "ü") for row in EVENTS]).encode("latin-1"),
    "twice-unwanted.csv": delimited(",", (*NAMES, "x", "x", ""), [(*row, 1, 2, 3) for row in EVENTS]).encode(),
    "blank-first.csv": b"\n\r\n" + PLAIN.encode(),
    "packed.csv.bz2": bz2.compress(PLAIN.encode()),
    "packed.csv.gz": gzip.compress(PLAIN[:700].encode()) + gzip.compress(PLAIN[700:].encode()),
    "packed.csv.zst": pyarrow.compress(PLAIN.encode(), "zstd", asbytes=True),
    "hidden.csv": gzip.compress(PLAIN.encode("utf-16")),
    "plain.jsonl": objects().encode(),
    "utf16.jsonl": objects().encode("utf-16"),
    "mark.jsonl": codecs.BOM_UTF8 + objects().encode(),
    "7-and-text-7.jsonl": objects([(str(u) if n % 2 else u, i, t, r) for n, (u, i, t, r) in enumerate(EVENTS)]).encode(),
    "7-and-7.0.jsonl": objects([(float(u) if n % 2 else u, i, t, r) for n, (u, i, t, r) in enumerate(EVENTS)]).encode(),
    "floats.jsonl": objects([(float(u), float(i), float(t), float(r)) for u, i, t, r in EVENTS]).encode(),
    "text-times.jsonl": objects([(u, i, str(t) if n % 2 else t, r) for n, (u, i, t, r) in enumerate(EVENTS)]).encode(),
    "nanoseconds.jsonl": objects([(u, i, t * 10**9, r) for u, i, t, r in EVENTS]).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", CSV)
def test_text_in_every_spelling(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(CSV[name])
    assert read(path)[0] == EXPECTED


def test_encodings_and_delimiters_that_are_told(tmp_path):
    rows = [(f"café {user}", item, second, rating) for user, item, second, rating in EVENTS]
    expected = [(f"café {user}", *rest) for user, *rest in EXPECTED]
    path = tmp_path / "events.csv"
    for delimiter, name, encoding in ((" ", "space", "utf-16-le"), ("|", "pipe", "latin-1"), (";", "auto", "cp1252")):
        header = [f'"{value}"' for value in NAMES]
        quoted = [(f'"{user}"', *rest) for user, *rest in rows]
        path.write_bytes(delimited(delimiter, header, quoted).encode(encoding))
        assert read(path, delimiter=name, encoding=encoding)[0] == expected
    path = tmp_path / "events.jsonl"
    path.write_text(
        "".join(json.dumps(dict(zip(NAMES, row, strict=True)), ensure_ascii=False) + "\n" for row in rows), "latin-1"
    )
    assert read(path, encoding="latin-1")[0] == expected


IDS = [user for user, *_ in EVENTS]
SECONDS = [second for _, _, second, _ in EVENTS]
USERS = {
    "strings": pyarrow.array(map(str, IDS), pyarrow.string()),
    "large strings": pyarrow.array(map(str, IDS), pyarrow.large_string()),
    "views": pyarrow.array(map(str, IDS), pyarrow.string_view()),
    "bytes without a mark": pyarrow.array([str(one).encode() for one in IDS], pyarrow.binary()),
    "large bytes": pyarrow.array([str(one).encode() for one in IDS], pyarrow.large_binary()),
    "dictionary": pyarrow.array(map(str, IDS)).dictionary_encode(),
    "dictionary of numbers": pyarrow.array(IDS).dictionary_encode(),
    "int8": pyarrow.array(IDS, pyarrow.int8()),
    "uint64": pyarrow.array(IDS, pyarrow.uint64()),
    "decimal": pyarrow.array([Decimal(one) for one in IDS], pyarrow.decimal128(38, 0)),
    "decimal with places": pyarrow.array([Decimal(one) for one in IDS], pyarrow.decimal128(20, 2)),
    "double": pyarrow.array(IDS, pyarrow.float64()),
    "float": pyarrow.array(IDS, pyarrow.float32()),
}
TIMES = {
    "int32": pyarrow.array(SECONDS, pyarrow.int32()),
    "uint64 ns": pyarrow.array([one * 10**9 for one in SECONDS], pyarrow.uint64()),
    "double": pyarrow.array(SECONDS, pyarrow.float64()),
    "double ns": pyarrow.array([one * 1e9 for one in SECONDS], pyarrow.float64()),
    "decimal": pyarrow.array([Decimal(one) for one in SECONDS], pyarrow.decimal128(38, 0)),
    "decimal with places": pyarrow.array([Decimal(one) for one in SECONDS], pyarrow.decimal128(20, 6)),
    "dictionary": pyarrow.array(SECONDS).dictionary_encode(),
    "timestamp s": pyarrow.array(SECONDS, pyarrow.timestamp("s")),
    "timestamp ns utc": pyarrow.array([one * 10**9 for one in SECONDS], pyarrow.timestamp("ns", "UTC")),
    "text": pyarrow.array(map(str, SECONDS)),
    "bytes": pyarrow.array([str(one).encode() for one in SECONDS]),
}


def write_parquet(path, user=None, time=None, rating=None):
    columns = {
        "user_id": IDS if user is None else user,
        "item_id": [item for _, item, *_ in EVENTS],
        "timestamp": SECONDS if time is None else time,
        "rating": [rating for *_, rating in EVENTS] if rating is None else rating,
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.mark.parametrize("name", USERS)
def test_ids_of_every_type(tmp_path, name):
    assert read(write_parquet(tmp_path / "events.parquet", user=USERS[name]))[0] == EXPECTED


@pytest.mark.parametrize("name", TIMES)
def test_times_of_every_type(tmp_path, name):
    assert read(write_parquet(tmp_path / "events.parquet", time=TIMES[name]))[0] == EXPECTED


def test_large_ids_keep_every_digit(tmp_path):
    """Doubles end at 2**53; these would be one user."""
    ids = [2**53, 2**53 + 1, 2**63 - 1, 2**64 - 1, 10**30, 10**30 + 1]
    rows = [(one, 1, SECONDS[0], 1) for one in ids]
    (tmp_path / "e.jsonl").write_text(objects(rows))
    (tmp_path / "e.csv").write_text(delimited(rows=rows))
    decimals = pyarrow.array([Decimal(one) for one in ids], pyarrow.decimal128(38, 0))
    table = {"user_id": decimals, "item_id": [1] * 6, "timestamp": SECONDS[:6], "rating": [1] * 6}
    pyarrow.parquet.write_table(pyarrow.table(table), tmp_path / "e.parquet")
    for name in ("e.jsonl", "e.csv", "e.parquet"):
        assert [row[0] for row in read(tmp_path / name)[0]] == list(map(str, ids))


def test_a_kind_that_changes_after_the_first_block(tmp_path):
    """Arrow has read a block by then; the rest is read by lines, and no row is lost or doubled."""
    filler = "x" * 190
    rows = [{"user_id": n, "item_id": 1, "timestamp": SECONDS[0], "rating": 1, "x": filler} for n in range(90_000)]
    rows[85_000]["user_id"] = "85000"
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert path.stat().st_size > BLOCK_BYTES
    assert [row[0] for row in read(path)[0]] == [str(n) for n in range(90_000)]


REFUSED_TEXT = {
    "column-twice.csv": (delimited(header=("user_id", "item_id", "timestamp", "timestamp")), "'timestamp' stands 2 times"),
    "column-twice.tsv": (delimited("\t", ("user_id", "user_id", "timestamp", "rating")), "'user_id' stands 2 times"),
    "typed-twice.inter": (delimited("\t", ("user_id:token", "user_id:float", "timestamp", "item_id")), "stands 2 times"),
    "quoted-twice.csv": (delimited(header=("user_id", "item_id", '"item_id"', "timestamp")), "'item_id' stands 2 times"),
    "key-twice.jsonl": (objects() + '{"user_id": 1, "user_id": 2, "item_id": 3, "timestamp": 1600000000}\n', "line 61: 'user_id' stands 2"),
    "key-twice-first.jsonl": ('{"user_id": 1, "item_id": 3, "timestamp": 1, "timestamp": 2}\n', "line 1: 'timestamp' stands 2"),
    "array.json.jsonl": ("[1, 2]\n", "line 1: not a JSON object"),
    "deep.jsonl": ("[" * 100_000 + "\n", "line 1: not a JSON object"),
    "bool.jsonl": (objects(replaced(3, "user_id", True)), "line 3: 'user_id' is true"),
    "list.jsonl": (objects(replaced(3, "item_id", ["a"])), "line 3: 'item_id' is [\"a\"]"),
    "fraction.jsonl": (objects(replaced(3, "user_id", 7.5)), "line 3: 'user_id' is 7.5; ids are texts or whole numbers"),
    "wide-float.jsonl": (objects(replaced(3, "user_id", 1e17)), "line 3: 'user_id' is 1e+17"),
    "surrogate.jsonl": (objects(replaced(3, "user_id", "\ud800")), "column user_id, row 3: "),
    "nan-time.jsonl": (objects(replaced(3, "timestamp", float("nan"))), "column timestamp, row 3: not a time: nan"),
    "infinite-rating.jsonl": (objects(replaced(3, "rating", float("inf"))), "column rating, row 3: not a rating: inf"),
    "huge-rating.csv": (delimited(rows=replaced(3, "rating", "1e99")), "column rating, row 3: not a rating: '1e99'"),
    "text-rating.csv": (delimited(rows=replaced(3, "rating", "good")), "column rating, row 3: not a rating: 'good'"),
    "blank-id.csv": (delimited(rows=replaced(3, "user_id", " ")), "column user_id, row 3: the id is missing"),
    "blank-id.jsonl": (objects(replaced(3, "user_id", "\t")), "column user_id, row 3: the id is missing"),
    "null-id.jsonl": (objects(replaced(3, "item_id", None)), "column item_id, row 3: the id is missing"),
    "padded.csv": (delimited(rows=replaced(3, "user_id", f" {EVENTS[5][0]}")), "would be two ids"),
    "padded.jsonl": (objects(replaced(3, "user_id", f"{EVENTS[5][0]} ")), "would be two ids"),
    "float-id.csv": (delimited(rows=replaced(3, "user_id", f"{EVENTS[5][0]}.0")), "would be two ids"),
    "negative.csv": (delimited(rows=replaced(3, "timestamp", -5)), "column timestamp, row 3: not a time: -5 is negative"),
    "zero.csv": (delimited(rows=replaced(3, "timestamp", 0)), "row 3: not a time: 0 is not a time between 1973 and 2200 in s"),
    "seconds-and-milliseconds.csv": (delimited(rows=replaced(3, "timestamp", 1_600_000_000_123)), "row 3: 1600000000123 looks like a time in ms"),
    "seconds-and-nanoseconds.jsonl": (objects(replaced(3, "timestamp", 16 * 10**17)), "row 3: 1600000000000000000 looks like a time in ns"),
    "seconds-and-microseconds.jsonl": (objects(replaced(3, "timestamp", 16e14)), "looks like a time in us, others in the file like times in s"),
    "dates-and-numbers.csv": (delimited(rows=replaced(3, "timestamp", "2020-01-01")), "row 3: not a time: '2020-01-01'"),
    "year-one.csv": (delimited(rows=[(u, i, "0001-01-01" if n == 2 else "2020-01-01", r) for n, (u, i, _, r) in enumerate(EVENTS)]), "row 3: not a time: '0001-01-01'"),
    "year-9999.csv": (delimited(rows=[(u, i, "9999-12-31" if n == 2 else "2020-01-01", r) for n, (u, i, _, r) in enumerate(EVENTS)]), "row 3: not a time: '9999-12-31'"),
    "short-row.csv": (PLAIN + "1,2\n", "row 61: Expected 4 columns, got 2: 1,2"),
    "utf16-without-mark.csv": (PLAIN.encode("utf-16-le"), "set --encoding, such as utf-16-le"),
    "ebcdic.csv": (PLAIN.encode("cp037"), "no column 'user_id'"),
    "half.csv": (PLAIN.encode("utf-16")[:-1], "not text in the expected encoding"),
    "latin1-id.csv": (delimited(rows=replaced(3, "user_id", "é")).encode("latin-1"), r"column user_id, row 3: b'\xe9' is not text in UTF-8; set --encoding"),
    "latin1-time.csv": (delimited(rows=replaced(3, "timestamp", "é")).encode("latin-1"), r"column timestamp, row 3: b'\xe9' is not text"),
    "latin1-id.jsonl": (objects(replaced(3, "user_id", "É")).replace("\\u00c9", "É").encode("latin-1"), r"column user_id, row 3: b'\xc9' is not text"),
    "latin1-bad-row.csv": (PLAIN.encode() + b"\xe9,2\n", "row 61: Expected 4 columns, got 2"),
    "xz.csv": (lzma.compress(PLAIN.encode()), "compressed with xz"),
    "parquet.csv": (b"PAR1" + bytes(50), "a Parquet file; set --format parquet"),
    "binary.csv": (bytes(range(256)) * 40, "set --encoding"),
    "unclosed.csv": ('user_id,item_id,timestamp,rating\n"1,2,3,4\n' + PLAIN, "line 2: a quote opens a value and is never closed"),
    "no-columns.csv": ("\n\n", "no rows in it"),
    "header-only.csv": ("user_id,item_id,timestamp,rating\n", "no events in it"),
    "control.csv": (delimited(header=("user\x1b[31m_id", "item_id", "timestamp", "rating")), r"user\x1b[31m_id"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_TEXT)
def test_text_that_is_refused(tmp_path, name):
    content, words = REFUSED_TEXT[name]
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert words in refusal(path)


@pytest.mark.parametrize("value", ["nan", "NaN", "inf", "-inf", "Infinity"])
@pytest.mark.parametrize("unit", ["auto", "s", "ms", "us", "ns", "order"])
def test_texts_that_floats_know_are_no_times(tmp_path, value, unit):
    path = tmp_path / "events.csv"
    path.write_text(delimited(rows=replaced(6, "timestamp", value)))
    assert f"column timestamp, row 6: not a time: '{value}'" in refusal(path, time_unit=unit)


REFUSED_PARQUET = {
    "float32 times": ({"time": pyarrow.array(numpy.float32(SECONDS))}, "32-bit floats cannot hold times"),
    "float16 times": ({"time": pyarrow.array(numpy.float16([n * 40 + 1 for n in range(60)]))}, "16-bit floats cannot"),
    "float32 fractions": ({"time": pyarrow.array(numpy.float32([n / 7 for n in range(60)]))}, "32-bit floats"),
    "bool ids": ({"user": pyarrow.array([True, False] * 30)}, "column user_id: of type bool"),
    "date ids": ({"user": pyarrow.array([0] * 60, pyarrow.date32())}, "column user_id: of type date32"),
    "fractions as ids": ({"user": pyarrow.array([1.5] * 60)}, "row 1: of type double; ids are texts or whole numbers: 1.5"),
    "wide floats as ids": ({"user": pyarrow.array([2.0**60] * 60)}, "row 1: of type double; ids"),
    "float32 ids": ({"user": pyarrow.array(numpy.float32([2.0**25] * 60))}, "row 1: of type float; ids"),
    "decimal fractions": ({"user": pyarrow.array([Decimal("1.5")] * 60)}, "row 1: of type decimal128"),
    "NaN ids": ({"user": pyarrow.array([1.0, float("nan")] * 30)}, "row 2: the id is missing"),
    "null ids": ({"user": pyarrow.array([1, None] * 30)}, "row 2: the id is missing"),
    "NaN times": ({"time": pyarrow.array([float("nan")] * 60)}, "row 1: not a time: nan"),
    "no times": ({"time": pyarrow.array([None] * 60)}, "row 1: the time is missing"),
    "year 1": ({"time": pyarrow.array([-62_135_596_800] * 60, pyarrow.timestamp("s"))}, "dates lie between 1900 and"),
    "overflow": ({"time": pyarrow.array([2**63 - 1] * 60, pyarrow.timestamp("ms"))}, "row 1: not a time: 9223372036854775807; dates lie"),
    "wide order": ({"time": pyarrow.array([2.0**60] * 60), "unit": "order"}, "too large for a float to hold exactly"),
    "uint64": ({"time": pyarrow.array([2**64 - 1] * 60, pyarrow.uint64())}, "row 1: not a time: 18446744073709551615"),
    "infinite rating": ({"rating": pyarrow.array([1.0, float("inf")] * 30)}, "column rating, row 2: not a rating: inf"),
    "damaged text": ({"user": pyarrow.array([b"a", b"\xff"] * 30)}, r"row 2: b'\xff' is not text in UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_PARQUET)
def test_parquet_that_is_refused(tmp_path, name):
    columns, words = REFUSED_PARQUET[name]
    unit = columns.get("unit", "auto")
    path = write_parquet(tmp_path / "e.parquet", **{key: value for key, value in columns.items() if key != "unit"})
    assert words in refusal(path, time_unit=unit)


def test_small_order_numbers_may_be_narrow_floats(tmp_path):
    for kind in (pyarrow.float32(), pyarrow.float16()):
        path = write_parquet(tmp_path / "e.parquet", time=pyarrow.array(range(60), kind))
        assert [row[2] for row in read(path)[0]] == list(range(60))


def test_a_parquet_column_that_stands_twice(tmp_path):
    ones = pyarrow.array([1])
    for names in (("user_id", "user_id", "item_id", "timestamp"), ("user_id", "item_id", "item_id", "timestamp")):
        pyarrow.parquet.write_table(pyarrow.Table.from_arrays([ones] * 4, names), tmp_path / "e.parquet")
        assert f"the column '{names[1]}' stands 2 times" in refusal(tmp_path / "e.parquet", rating_column="")


@pytest.mark.parametrize("factor", [1000, 10**6, 10**9])
def test_files_in_different_units_are_one_data_set(tmp_path, factor):
    first, second = tmp_path / "a.csv", tmp_path / "b.jsonl"
    first.write_text(delimited(rows=EVENTS[:25]))
    second.write_text(objects([(u, i, t * factor, r) for u, i, t, r in EVENTS[25:]]))
    assert read(first, source=f"{first},{second}")[0] == EXPECTED
    assert read(first, source=f"{second},{first}")[0] == EXPECTED[25:] + EXPECTED[:25]
    unit = {1000: "ms", 10**6: "us", 10**9: "ns"}[factor]
    line = refusal(first, source=f"{first},{second}", time_unit=unit)
    assert line == (
        f"--time-unit {unit}: {second} is in {unit}, but {first} looks like s; use --time-unit auto, which tells the "
        "unit of each file"
    )


def test_order_numbers_in_one_file_and_times_in_another(tmp_path):
    for name, content in (("a.csv", delimited(rows=[(1, 1, 5, 1)])), ("b.csv", PLAIN)):
        (tmp_path / name).write_text(content)
    line = refusal(tmp_path / "a.csv", source=f"{tmp_path}/a.csv,{tmp_path}/b.csv")
    assert f"{tmp_path}/a.csv holds order numbers and {tmp_path}/b.csv holds times" in line


def test_events_within_a_millisecond_are_in_order(tmp_path):
    """Microseconds order events; the stored times are milliseconds."""
    times = [1_600_000_000_000_900, 1_600_000_000_000_100, 1_600_000_000_000_500]
    (tmp_path / "e.csv").write_text(delimited(rows=[(1, item, time, 1) for item, time in enumerate(times)]))
    (tmp_path / "n.csv").write_text(delimited(rows=[(1, item, time * 1000, 1) for item, time in enumerate(times)]))
    for name in ("e.csv", "n.csv"):
        frame = in_order(read(tmp_path / name)[1].interactions.frame, "exact", "us")
        assert frame["item"].cast(polars.String).to_list() == ["1", "2", "0"]


def test_a_zip_archive_is_no_csv(tmp_path):
    for name, words in (
        ("e.csv", "a zip archive; unpack it first"),
        ("e.jsonl", "a zip archive"),
        ("e.parquet", "not readable"),
    ):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("events.csv", PLAIN)
        assert words in refusal(tmp_path / name)


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "jsonl", "jsonl.gz"])
def test_a_line_without_end_is_not_read_whole(tmp_path, ending):
    """Compressed, a gigabyte is a megabyte."""
    path = tmp_path / f"events.{ending}"
    start, size = (PLAIN, 80 << 20) if "csv" in ending else (objects() + '{"user_id": "', 80 << 20)
    with gzip.open(path, "wb", 1) if ending.endswith("gz") else path.open("wb") as file:
        file.write(start.encode())
        for _ in range(size >> 20):
            file.write(b"x" * (1 << 20))
    tracemalloc.start()
    line = refusal(path)
    assert "MiB" in line
    assert tracemalloc.get_traced_memory()[1] < 3 * BLOCK_BYTES
    tracemalloc.stop()


def test_a_text_of_many_parquet_rows_is_held_once(tmp_path):
    """A Parquet dictionary holds a value once: written out, these rows take 2 GB."""
    path, rows = tmp_path / "events.parquet", 4000
    users = pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([row % 2 for row in range(rows)], pyarrow.int32()), pyarrow.array(["x" * (1 << 19), "y"])
    )
    table = {"user_id": users, "item_id": ["i"] * rows, "timestamp": range(1_600_000_000, 1_600_000_000 + rows)}
    pyarrow.parquet.write_table(pyarrow.table(table), path, compression="zstd")
    assert path.stat().st_size < 100_000
    longest = 0
    for batch in read_batches(path, "parquet", ["user_id", "timestamp"], (), TextForm(), BadRows()):
        longest = max(longest, batch.num_rows)
        assert batch.column("timestamp").to_pylist() == sorted(batch.column("timestamp").to_pylist())
    assert longest << 19 <= 256 << 20
    pyarrow.parquet.write_table(
        pyarrow.table({"user_id": ["x" * (BLOCK_BYTES + 1), "y"], "item_id": ["i", "j"], "timestamp": [1, 2]}), path
    )
    assert "column user_id: a value is longer than 16 MiB" in refusal(path, rating_column="")


def test_json_lines_may_be_called_json(tmp_path):
    path = tmp_path / "events.json"
    path.write_text(objects())
    assert read(path)[0] == EXPECTED
    path.write_text("[\n" + ",\n".join(objects().splitlines()) + "\n]\n")
    assert "line 1: not a JSON object: '['; write one JSON object a line" in refusal(path)


@pytest.mark.parametrize("store_schema", [True, False])
def test_uuids_of_parquet_are_ids(tmp_path, store_schema):
    path = tmp_path / "uuids.parquet"
    users = [uuid.UUID(int=(user << 96) + user) for user, _, _, _ in EVENTS]
    columns = dict(zip(NAMES, zip(*EVENTS, strict=True), strict=True))
    columns["user_id"] = pyarrow.array([user.bytes for user in users], pyarrow.uuid())
    pyarrow.parquet.write_table(pyarrow.table(columns), path, store_schema=store_schema)
    assert [row[0] for row in read(path)[0]] == [str(user) for user in users]
    columns["user_id"] = pyarrow.array([None, *(user.bytes for user in users[1:])], pyarrow.uuid())
    pyarrow.parquet.write_table(pyarrow.table(columns), path, store_schema=store_schema)
    assert "column user_id, row 1: the id is missing" in refusal(path)


def test_times_that_end_in_utc(tmp_path):
    path = tmp_path / "utc.csv"  # as BigQuery exports them
    times = [f"{datetime.datetime.fromtimestamp(t, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC" for _, _, t, _ in EVENTS]
    rows = [(u, i, time, r) for (u, i, _, r), time in zip(EVENTS, times, strict=True)]
    path.write_text(delimited(rows=rows))
    assert read(path)[0] == EXPECTED
    path.write_text(
        delimited(
            rows=[(u, i, time.replace(" UTC", " PST") if n == 2 else time, r) for n, (u, i, time, r) in enumerate(rows)]
        )
    )
    assert "row 3: not a time: '2020-" in refusal(path)


def test_ratings_with_a_decimal_comma(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text(delimited(";", rows=[(u, i, t, f"{r},50") for u, i, t, r in EVENTS]))
    _, source = read(path)
    assert source.interactions.frame["rating"].to_list() == [r + 0.5 for _, _, _, r in EVENTS]
    path.write_text(delimited(";", rows=replaced(3, "rating", "3,500")))  # which may be thousands
    assert "row 3: not a rating: '3,500'" in refusal(path)

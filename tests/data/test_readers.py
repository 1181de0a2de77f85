import csv
import gzip
import json
import random

import polars
import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.locations import format_of_name
from ssm4rec.data.readers import read_batches
from ssm4rec.data.streams import TextForm
from ssm4rec.runtime.errors import InputError


def rows_of(path, kind, columns, ids=()):
    return pyarrow.Table.from_batches(read_batches(path, kind, columns, ids, TextForm(), BadRows())).to_pylist()


def raised(path, kind, columns):
    """Return the one line of the error."""
    with pytest.raises(InputError) as raising:
        rows_of(path, kind, columns)
    assert "\n" not in str(raising.value)
    return str(raising.value)


def made_up_rows(count=50_000):
    chance = random.Random(1)
    return [
        {
            "noise": chance.choice(["a,b", 'say "x"', "two\nlines", "", "ü"]),
            "user": f"u{chance.randrange(999)}",
            "item": f"i{chance.randrange(99)}",
            "time": chance.randrange(10**9),
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("gzipped", [True, False])
def test_csv_equals_the_standard_library(tmp_path, gzipped):
    rows, path = made_up_rows(), tmp_path / "events"
    with (gzip.open if gzipped else open)(path, "wt", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["noise", "user", "item", "time"])
        writer.writeheader()
        writer.writerows(rows)
    expected = [
        {"time": str(row["time"]).encode(), "user": row["user"].encode(), "noise": row["noise"].encode()}
        for row in rows
    ]
    assert rows_of(path, "csv", ["time", "user", "noise"]) == expected


@pytest.mark.parametrize("gzipped", [True, False])
def test_jsonl_equals_the_standard_library(tmp_path, gzipped):
    rows, path = made_up_rows(), tmp_path / "events"
    for number, row in enumerate(rows):  # a field whose type changes from row to row is nobody's business
        row["noise"] = [row["noise"], {"price": number}, number][number % 3]
    with (gzip.open if gzipped else open)(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert rows_of(path, "jsonl", ["time", "item"]) == [{"time": row["time"], "item": row["item"]} for row in rows]


def test_json_numbers_as_ids_and_as_ratings(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"user": 7, "rating": 5}\n\n{"user": 9007199254740993, "rating": 4.5}\n{"user": 1}\n')
    rows = rows_of(path, "jsonl", ["user", "rating"], ids=["user"])
    assert rows == [{"user": 7, "rating": 5}, {"user": 9007199254740993, "rating": 4.5}, {"user": 1, "rating": None}]


def test_parquet_in_batches(tmp_path):
    path = tmp_path / "events.parquet"
    rows = made_up_rows()
    polars.DataFrame(rows).write_parquet(path, row_group_size=7_000)
    assert rows_of(path, "parquet", ["user", "time"]) == [{"user": row["user"], "time": row["time"]} for row in rows]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_missing_column_names_those_there_are(tmp_path, kind):
    path = tmp_path / "events"
    match kind:
        case "csv":
            path.write_text("who,what\n1,2\n")
        case "jsonl":
            path.write_text('{"who": "1", "what": "2"}\n')
        case "parquet":
            polars.DataFrame({"who": ["1"], "what": ["2"]}).write_parquet(path)
    with pytest.raises(InputError, match=r"no column 'user_id'; its columns are who, what$"):
        rows_of(path, kind, ["user_id"])


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_missing_file_a_folder_and_an_empty_file(tmp_path, kind):
    with pytest.raises(InputError, match="none: no such file"):
        rows_of(tmp_path / "none", kind, ["a"])
    with pytest.raises(InputError, match="a folder"):
        rows_of(tmp_path, kind, ["a"])
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match=r"empty: (not readable|no rows)"):
        rows_of(tmp_path / "empty", kind, ["a"])


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_truncated_gzip(tmp_path, kind):
    chance = random.Random(2)
    values = [str(chance.random()) for _ in range(200_000)]
    lines = ["a", *values] if kind == "csv" else [f'{{"a": "{value}"}}' for value in values]
    whole = gzip.compress("\n".join(lines).encode(), 1)
    path = tmp_path / "events.gz"
    for content in (whole[:-9], whole[: len(whole) // 2], whole[:12], whole[:99] + b"garbage" + whole[106:]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"events.gz(: not readable|, row|: no column)") as raised:
            rows_of(path, kind, ["a"])
        assert "\n" not in str(raised.value)


def test_a_damaged_parquet_file(tmp_path):
    path = tmp_path / "events.parquet"
    polars.DataFrame({"a": [str(number**3) for number in range(100_000)]}).write_parquet(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:1000])
    with pytest.raises(InputError, match="not readable"):
        rows_of(path, "parquet", ["a"])
    path.write_bytes(whole[:1000] + b"\xff" * 1000 + whole[2000:])
    with pytest.raises(InputError, match="not readable"):
        rows_of(path, "parquet", ["a"])


def test_a_bad_row_is_named(tmp_path):
    """In the second of the blocks that are parsed at a time."""
    path = tmp_path / "events"
    path.write_text("a,b\n" + "1,2\n" * 3_000_000 + "3\n")
    assert raised(path, "csv", ["a"]).endswith(
        "events, row 3000001: Expected 2 columns, got 1: 3; mend or remove the row, or set --bad-rows drop"
    )
    rows = f'{{"a": "{"x" * 190}"}}\n' * 100_000
    path.write_text(rows + '{"a": }\n')
    assert "events, line 100001: not a JSON object: '{\"a\": }'; mend" in raised(path, "jsonl", ["a"])
    path.write_text('{"a": "x"}\nnonsense\n')
    assert "events, line 2: not a JSON object: 'nonsense'" in raised(path, "jsonl", ["a"])


def test_formats_by_name():
    names = ["a.CSV", "https://x/a.csv.gz?key=1", "b.jsonl", "b.ndjson.gz", "s3://c/d.parquet"]
    assert [format_of_name(name) for name in names] == ["csv", "csv", "jsonl", "jsonl", "parquet"]


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_parquet_texts_in_every_encoding(tmp_path, encoding):
    """Arrow's DeltaByteArrayDecoder fills no dictionary (DecodeArrow of DictAccumulator, "not yet implemented")."""
    path, texts = tmp_path / "e.parquet", [f"u{row % 7}" for row in range(100)]
    table = pyarrow.table({"user": texts})
    pyarrow.parquet.write_table(
        table, path, use_dictionary=False, column_encoding={"user": encoding}, row_group_size=40
    )
    assert [row["user"] for row in rows_of(path, "parquet", ["user"])] == texts

"""Rows that cannot be read, dropped and counted; what stays is what a file without them gives."""

import gzip
import json

import polars
import pyarrow
import pyarrow.parquet
import pytest

from ssm4rec.data.data_sets import read_data_set
from ssm4rec.data.source import SourceOptions
from ssm4rec.runtime.errors import InputError

GOOD = [(f"u{n % 7}", f"i{n % 9}", 1_600_000_000 + n * 60, n % 5 + 1) for n in range(50)]
NAMES = ("user_id", "item_id", "timestamp", "rating")
COUNTS = {
    "user id missing": 2,
    "item id missing": 1,
    "time missing": 1,
    "time not readable": 2,
    "time before 1970": 1,
    "rating not readable": 1,
}
# A row with two faults counts once, with the first.
BAD = [
    ("", "i1", 1_600_000_000, 3),
    (" ", "i1", "soon", 3),
    ("u1", "", 1_600_000_000, 3),
    ("u1", "i1", "", 3),
    ("u1", "i1", "soon", 3),
    ("u1", "i1", 16e18, 3),
    ("u1", "i1", -5, 3),
    ("u1", "i1", 1_600_000_000, "good"),
]


def read(path, **options):
    options = {"rating_column": "rating", "bad_rows": "drop", **options}
    source = read_data_set(SourceOptions("events", path.parent, str(path), **options))
    frame = source.interactions.frame.cast({"user": polars.String, "item": polars.String, "rating": polars.Int64})
    return frame.with_columns(polars.col("time") // 1_000_000).rows(), dict(source.dropped)


def mixed():
    """Return good rows with the bad ones among them."""
    rows = list(GOOD)
    for place, row in enumerate(BAD):
        rows.insert(place * 6, row)
    return rows


def csv(rows):
    return "".join(",".join(map(str, row)) + "\n" for row in (NAMES, *rows))


def jsonl(rows):
    texts = [[None if value == "" else value for value in row] for row in rows]
    return "".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in texts)


def test_csv(tmp_path):
    # A missing time is an empty text here: there is nothing to tell one from the other.
    counts = {**COUNTS, "time not readable": 3}
    del counts["time missing"]
    (tmp_path / "e.csv").write_text(csv(mixed()) + "u1,i1\nu1,i1,1600000000,3,4\n")
    rows, dropped = read(tmp_path / "e.csv")
    assert rows == GOOD
    assert dropped == {**counts, "malformed row": 2}


def test_jsonl(tmp_path):
    more = [
        '{"user_id": "u1"',
        "[]",
        "null",
        '{"user_id": {}, "item_id": "i1", "timestamp": 5}',
        '{"user_id": 1, "user_id": 2}',
    ]
    with gzip.open(tmp_path / "e.jsonl.gz", "wt") as file:
        file.write("\n".join([*more, jsonl(mixed())]))
    rows, dropped = read(tmp_path / "e.jsonl.gz")
    assert rows == GOOD
    assert dropped == {**COUNTS, "malformed row": 5}


def test_parquet(tmp_path):
    columns = {
        name: [None if row[place] == "" else str(row[place]) for row in mixed()] for place, name in enumerate(NAMES)
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "e.parquet", row_group_size=11)
    rows, dropped = read(tmp_path / "e.parquet")
    assert rows == GOOD
    assert dropped == COUNTS


def test_bytes_that_are_no_text(tmp_path):
    """Dropped too; and two damaged ids do not become one."""
    lines = csv(GOOD).encode() + b"caf\xe9,i1,1600000000,3\ncaf\xe8,i1,1600000000,3\nu1,i1,16\xff,3\nu1,\xff\n"
    (tmp_path / "e.csv").write_bytes(lines)
    rows, dropped = read(tmp_path / "e.csv")
    assert rows == GOOD
    assert dropped == {"user id not readable": 2, "time not readable": 1, "malformed row": 1}
    (tmp_path / "e.jsonl").write_bytes(
        jsonl(GOOD).encode() + b'{"user_id": "caf\xe9", "item_id": "i1", "timestamp": 1600000000}\n'
    )
    rows, dropped = read(tmp_path / "e.jsonl")
    assert rows == GOOD
    assert dropped == {"user id not readable": 1}


@pytest.mark.parametrize("values", [["", "2020-01-01", "soon", "2020-01-03"], ["2020-01-01", "5", "2020-01-03"]])
def test_dates_with_other_texts_among_them(tmp_path, values):
    (tmp_path / "e.csv").write_text(csv([("u", "i", value, 1) for value in values]))
    rows, dropped = read(tmp_path / "e.csv")
    assert [row[2] for row in rows] == [1_577_836_800, 1_578_009_600]
    assert dropped == {"time not readable": len(values) - 2}


def test_seconds_among_milliseconds_are_never_dropped(tmp_path):
    """They are good rows: half a data set would go with one line of output."""
    rows = [(user, item, time * 1000, rating) for user, item, time, rating in GOOD]
    (tmp_path / "e.csv").write_text(csv([*rows[:30], *GOOD[30:]]))
    with pytest.raises(
        InputError, match=r"row 31: 1600001800 looks like a time in s, others in the file like times in ms"
    ):
        read(tmp_path / "e.csv")


def test_nothing_left(tmp_path):
    (tmp_path / "e.csv").write_text(csv(BAD))
    with pytest.raises(InputError, match=r"no events in it that can be read \(2 user id missing, 1 item id missing, "):
        read(tmp_path / "e.csv")


def test_refusing_names_the_first(tmp_path):
    (tmp_path / "e.csv").write_text(csv([*GOOD, BAD[2], BAD[0]]))
    with pytest.raises(
        InputError, match=r"e\.csv, column user_id, row 52: the id is missing; .*, or set --bad-rows drop$"
    ):
        read(tmp_path / "e.csv", bad_rows="refuse")


def test_amazon_drops_its_negative_times_and_nothing_else(jsonl, tmp_path):
    rows = [
        {"user_id": user, "parent_asin": item, "rating": float(rating), "timestamp": second * 1000}
        for user, item, second, rating in GOOD
    ]
    path = jsonl(
        tmp_path / "Electronics.jsonl.gz", [*rows[:9], {**rows[9], "timestamp": -62_135_596_800_000}, *rows[10:]]
    )
    source = read_data_set(SourceOptions("amazon-2023-electronics", tmp_path, str(path)))
    times = source.interactions.frame["time"].to_list()
    assert dict(source.dropped) == {"time before 1970": 1}
    assert times == [second * 1_000_000 for n, (*_, second, _) in enumerate(GOOD) if n != 9]
    path = jsonl(tmp_path / "Electronics.jsonl.gz", [*rows[:9], {**rows[9], "user_id": None}])
    with pytest.raises(InputError, match="column user_id, row 10: the id is missing"):
        _ = read_data_set(SourceOptions("amazon-2023-electronics", tmp_path, str(path))).interactions

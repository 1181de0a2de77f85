import json
import random

import polars
import pytest

from ssm4rec.data.data_sets import read_data_set
from ssm4rec.data.source import SourceOptions
from ssm4rec.runtime.errors import InputError

CHANCE = random.Random(9)
ROWS = [
    {"who": f"ü {CHANCE.randrange(30)}", "what": CHANCE.randrange(20), "when": 1_600_000_000 + n, "stars": n % 5}
    for n in range(200)
]
COLUMNS = {"user_column": "who", "item_column": "what", "time_column": "when", "rating_column": "stars"}


def write(path, rows):
    match path.suffix:
        case ".csv":
            polars.DataFrame(rows).write_csv(path)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        case ".parquet":
            polars.DataFrame(rows).write_parquet(path)
    return path


def rows_of(source):
    return source.interactions.frame.cast({"user": polars.String, "item": polars.String}).rows()


EXPECTED = [(row["who"], str(row["what"]), row["when"] * 1_000_000, row["stars"]) for row in ROWS]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_all_formats_give_the_same(tmp_path, ending):
    path = write(tmp_path / f"events.{ending}", ROWS)
    source = read_data_set(SourceOptions("events", tmp_path, path.as_uri(), **COLUMNS))
    assert rows_of(source) == EXPECTED
    assert source.events.columns.rating


def test_several_files_are_one_data_set(tmp_path, server):
    first = write(tmp_path / "monday.csv", ROWS[:50])
    server.files["/tuesday.parquet"] = write(tmp_path / "tuesday.parquet", ROWS[50:]).read_bytes()
    address = f"{first}, {server.address}/tuesday.parquet"
    source = read_data_set(SourceOptions("events", tmp_path / "cache", address, **COLUMNS))
    assert rows_of(source) == EXPECTED
    assert len(source.files) == 2


def test_the_format_may_be_told(tmp_path):
    path = write(tmp_path / "events.csv", ROWS).rename(tmp_path / "events.txt")
    source = read_data_set(SourceOptions("events", tmp_path, str(path), format="csv", **COLUMNS))
    assert rows_of(source) == EXPECTED


def test_more_words_about_items_may_be_named(tmp_path):
    events = write(tmp_path / "events.csv", ROWS)
    items = write(
        tmp_path / "items.csv", [{"what": 3, "name": "a", "kind": "b c"}, {"what": 4, "name": "d", "kind": ""}]
    )
    told = {"title_column": "name", "words_column": "kind", **COLUMNS}
    titles = polars.concat(read_data_set(SourceOptions("events", tmp_path, str(events), str(items), **told)).titles)
    assert titles.columns == ["item_id", "title", "words"]
    assert titles.row(0) == ("3", "a", "b c")
    told["words_column"] = "sort"
    with pytest.raises(InputError, match="another --words-column"):
        list(read_data_set(SourceOptions("events", tmp_path, str(events), str(items), **told)).titles)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_titles(tmp_path, ending):
    events = write(tmp_path / "events.csv", ROWS)
    items = write(tmp_path / f"items.{ending}", [{"what": 3, "name": "a, b"}, {"what": 4, "name": "c"}])
    options = SourceOptions("events", tmp_path, str(events), str(items), title_column="name", **COLUMNS)
    assert polars.concat(read_data_set(options).titles).rows() == [("3", "a, b"), ("4", "c")]


def test_a_name_that_tells_no_format(tmp_path):
    with pytest.raises(InputError, match=r"e\.txt: the name does not tell the format; set --format to one of csv, j"):
        read_data_set(SourceOptions("events", tmp_path, f"{tmp_path}/e.txt", **COLUMNS))


def test_without_a_source_and_of_unknown_name(tmp_path):
    with pytest.raises(InputError, match="--dataset events needs --source"):
        read_data_set(SourceOptions("events", tmp_path))
    with pytest.raises(InputError, match="--dataset ml-2m: unknown data set; use one of ml-100k, ml-1m, ml-20m, amaz"):
        read_data_set(SourceOptions("ml-2m", tmp_path))


def test_titles_that_are_no_texts(tmp_path):
    events, items = tmp_path / "e.parquet", tmp_path / "i.parquet"
    write(events, ROWS)
    polars.DataFrame({"what": [3], "name": [["a", "b"]]}).write_parquet(items)
    options = SourceOptions("events", tmp_path, str(events), str(items), title_column="name", **COLUMNS)
    with pytest.raises(InputError, match=r"i\.parquet, column name: of type .*list<.*>; titles are texts"):
        list(read_data_set(options).titles)

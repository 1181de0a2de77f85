import random

import numpy
import polars
import pyarrow.parquet
import pytest

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.items import read_items
from ssm4rec.data.dataset_writer import collect_titles, write_dataset
from ssm4rec.data.event_order import in_order, order_facts
from ssm4rec.data.sequences import build_sequences
from ssm4rec.data.splitting import leave_one_out


@pytest.fixture
def rows():
    """Return (user, item, time, rating) rows in time order."""
    chance = random.Random(6)
    rows = [
        (f"user {chance.randrange(40)}", f"item {chance.randrange(30)}", chance.randrange(100), chance.randrange(1, 6))
        for _ in range(500)
    ]
    return sorted(rows, key=lambda row: row[2])


def frame_of(rows):
    kinds = {"user": polars.Categorical, "item": polars.Categorical, "time": polars.Int64, "rating": polars.Float32}
    return in_order(polars.DataFrame(rows, kinds, orient="row"), "exact", "order")


ORDER = order_facts("exact", numpy.array([1]), "order", numpy.array([0]), numpy.array([1]), numpy.array([0]))


def write(folder, rows, titles=()):
    sequences = build_sequences(frame_of(rows))
    folder.mkdir(exist_ok=True)
    return write_dataset(
        folder,
        "made-up",
        sequences,
        leave_one_out(sequences.offsets),
        collect_titles(sequences.item_ids, titles),
        {"sources": [], "settings": {}, "filters": [], "event_order": ORDER, "split": {"name": "leave-one-out"}},
    )


def test_what_is_written_is_what_was_given(tmp_path, rows):
    manifest = write(tmp_path, rows)
    users = list(dict.fromkeys(row[0] for row in rows))
    items = list(dict.fromkeys(row[1] for row in rows))
    found = read_sequences(tmp_path)
    assert (found.name, found.item_count, found.user_count) == ("made-up", len(items), len(users))
    for user, name in enumerate(users):
        sequence = found.items[found.offsets[user] : found.offsets[user + 1]]
        assert [items[item - 1] for item in sequence] == [row[1] for row in rows if row[0] == name]
    interactions = polars.read_parquet(tmp_path / "interactions.parquet")
    assert interactions["item"].to_list() == found.items.tolist()
    expected = sorted(rows, key=lambda row: users.index(row[0]))
    named = [(users[user], items[item - 1], time, rating) for user, item, time, rating in interactions.rows()]
    assert named == expected
    assert polars.read_parquet(tmp_path / "items.parquet").rows() == [
        (number, name, None) for number, name in enumerate(items, 1)
    ]
    assert polars.read_parquet(tmp_path / "sequences.parquet")["user_id"].to_list() == users
    assert manifest["counts"] == {"users": len(users), "items": len(items), "interactions": len(rows)}
    assert manifest["recbole_counts"]["users"] == len(users) + 1


def test_types_are_those_of_the_description(tmp_path, rows):
    write(tmp_path, rows)

    def types(name):
        return {field.name: str(field.type) for field in pyarrow.parquet.read_schema(tmp_path / name)}

    assert types("sequences.parquet") == {
        "user_id": "string", "items": "list<element: int32>",
        "train_length": "int32", "validation_position": "int32", "validation_targets": "int32",
        "test_position": "int32", "test_targets": "int32",
    }  # fmt: skip
    assert types("interactions.parquet") == {"user": "int32", "item": "int32", "time": "int64", "rating": "float"}
    assert types("items.parquet") == {"item": "int32", "item_id": "string", "title": "string"}
    assert pyarrow.parquet.ParquetFile(tmp_path / "sequences.parquet").num_row_groups == 1


def test_the_split_is_counted(tmp_path):
    # Items 1 2 3 4 | 5 for user a: item 5 is never trained. User b is too short for evaluation.
    rows = [("a", "v", 1, 1), ("a", "w", 2, 1), ("a", "x", 3, 1), ("a", "y", 4, 1), ("a", "z", 5, 1), ("b", "v", 6, 1)]
    manifest = write(tmp_path, rows)
    assert manifest["split"] == {
        "name": "leave-one-out",
        "training_interactions": 3 + 1,
        "validation_users": 1,
        "validation_targets": 1,
        "test_users": 1,
        "test_targets": 1,
        "users_without_evaluation": 1,
        "test_targets_unseen_in_training": 1,
    }
    assert manifest["sequence_length"] == {"mean": (5 + 1) / 2, "median": (5 + 1) / 2, "maximum": 5}


def test_the_fingerprint_tells_datasets_apart(tmp_path, rows):
    first = write(tmp_path / "a", rows)["fingerprint"]
    assert write(tmp_path / "b", rows)["fingerprint"] == first
    assert write(tmp_path / "c", rows[:-1])["fingerprint"] != first


def test_titles_are_found_over_several_frames():
    frames = [
        polars.DataFrame({"item_id": ["c", "zz", "a"], "title": [" ", "unused", "first"]}),
        polars.DataFrame({"item_id": ["a", "c", "d"], "title": ["second", "third", None]}),
    ]
    assert collect_titles(polars.Series(["a", "b", "c", "d"]), frames)["title"].to_list() == [
        "first",
        None,
        "third",
        None,
    ]
    assert collect_titles(polars.Series(["a"]), [])["title"].to_list() == [None]


def test_words_are_those_of_the_row_of_the_title(tmp_path, rows):
    frames = [
        polars.DataFrame(
            {"item_id": [rows[0][1], rows[0][1]], "title": ["", "first"], "words": ["no", "Comedy Drama"]}
        ),
        polars.DataFrame({"item_id": [rows[0][1]], "title": ["second"], "words": ["War"]}),
    ]
    write(tmp_path, rows, frames)
    texts = read_items(tmp_path).texts
    assert texts[0] == "first Comedy Drama"
    assert not any(texts[1:])

import gzip
import random

import polars
import pytest

from ssm4rec.data import amazon
from ssm4rec.data.amazon import CATEGORIES, category, read_amazon
from ssm4rec.data.dataset_writer import collect_titles
from ssm4rec.data.source import SourceOptions
from ssm4rec.runtime.errors import InputError

CHANCE = random.Random(8)
EVENTS = [
    (
        f"AE{CHANCE.randrange(40):026}",
        f"B0{CHANCE.randrange(20):08}",
        float(CHANCE.randrange(1, 6)),
        1_500_000_000_000 + n,
    )
    for n in range(300)
]
REVIEWS = [
    {
        "rating": rating, "title": "Good", "text": 'with "quotes",\nlines and é',
        "images": [{"small": "https://x"}] * (when % 2),
        "asin": f"B1{when % 10:08}", "parent_asin": item, "user_id": user, "timestamp": when, "helpful_vote": 0,
        "verified_purchase": True,
    }
    for user, item, rating, when in EVENTS
]  # fmt: skip
# Prices are numbers in some rows and texts in others, titles may be missing: as in the published metadata.
METADATA = [
    {"parent_asin": f"B0{number:08}", "title": f"Product {number}" if number % 3 else None,
     "price": number if number % 2 else "from 14.99", "details": {"Brand": [None, "x", {"y": 1}][number % 3]}}
    for number in range(25)
]  # fmt: skip


def assert_holds_the_events(source):
    frame = source.interactions.frame.cast({"user": polars.String, "item": polars.String})
    assert frame.rows() == [(user, item, when * 1000, rating) for user, item, rating, when in EVENTS]
    assert source.interactions.time_unit == "ms"


def test_raw_reviews_and_titles(jsonl, tmp_path):
    reviews, metadata = jsonl(tmp_path / "r.jsonl.gz", REVIEWS), jsonl(tmp_path / "m.jsonl.gz", METADATA)
    source = read_amazon(SourceOptions("amazon-2023-beauty", tmp_path, str(reviews), str(metadata)))
    assert_holds_the_events(source)
    items = [f"B0{number:08}" for number in range(20)]
    expected = [f"Product {number}" if number % 3 else None for number in range(20)]
    assert collect_titles(polars.Series(items), source.titles)["title"].to_list() == expected


def test_rating_only(tmp_path):
    path = tmp_path / "r.csv.gz"
    with gzip.open(path, "wt") as file:
        file.write("user_id,parent_asin,rating,timestamp\n")
        file.writelines(",".join(map(str, event)) + "\n" for event in EVENTS)
    source = read_amazon(SourceOptions("amazon-2023-video-games", tmp_path, str(path), form="rating_only"))
    assert_holds_the_events(source)
    assert list(source.titles) == [], "with a source of one's own, titles come from one's own metadata only"


def test_the_official_addresses(server, jsonl, tmp_path, monkeypatch):
    """The paths are asked of a real server on this machine; only the host in front of them is another."""
    assert amazon._BASE == "https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023"
    monkeypatch.setattr(amazon, "_BASE", server.address)
    reviews, metadata = jsonl(tmp_path / "r", REVIEWS), jsonl(tmp_path / "m", METADATA)
    server.files["/raw/review_categories/Video_Games.jsonl.gz"] = reviews.read_bytes()
    server.files["/raw/meta_categories/meta_Video_Games.jsonl.gz"] = metadata.read_bytes()
    source = read_amazon(SourceOptions("amazon-2023-video-games", tmp_path / "cache"))
    assert_holds_the_events(source)
    assert polars.concat(source.titles).height == len(METADATA)
    assert [file.path.name for file in source.files] == ["Video_Games.jsonl.gz", "meta_Video_Games.jsonl.gz"]


def test_categories_by_name():
    for name in CATEGORIES:
        assert category(f"amazon-2023-{name}") == name
        assert category("amazon-2023-" + name.lower().replace("_", "-")) == name
    with pytest.raises(InputError, match="amazon-2023-cars: no such category; the categories are all-beauty, "):
        category("amazon-2023-cars")


def test_another_table_has_other_columns(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("user,item\n1,2\n")
    with pytest.raises(InputError, match="no column 'user_id'; its columns are user, item"):
        _ = read_amazon(SourceOptions("amazon-2023-beauty", tmp_path, str(path), form="rating_only")).interactions

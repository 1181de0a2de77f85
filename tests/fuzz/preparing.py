"""prepare_data with every kind of source: small synthetic files in the published layouts."""

import gzip
import json
import random
import zipfile
from pathlib import Path

import polars

from tests.fuzz.targets import Target

_OUT = ("--k-core", "0", "--cache-dir", "CHECKPOINTS", "--dataset-dir", "OUT/dataset")
_OWN = ("--dataset", "events", "--rating-column", "rating", "--items-source", "IN/items.csv", *_OUT)
_ANY = ("--any-checksum", "true")


def _target(name: str, *arguments: str, victims: tuple[str, ...]) -> Target:
    return Target(f"prepare {name}", "prepare_data", arguments, victims, "prepare")


PREPARE = (
    *(
        _target(name, "--source", f"IN/{name}", *_OWN, victims=(name,))
        for name in ("events.csv", "events.csv.gz", "events.jsonl", "events.jsonl.gz", "events.parquet", "events.tsv")
    ),
    *(
        _target(name, "--dataset", "events", "--source", "IN/events.csv", "--items-source", f"IN/{name}", *_OUT,
                victims=(name,))
        for name in ("items.csv", "items.jsonl", "items.parquet")
    ),
    _target("events later", "--source", "IN/events.csv", "--splitting", "global-time", *_OWN, victims=("events.csv",)),
    _target("reviews", "--dataset", "amazon-2023-video-games", "--source", "IN/reviews.jsonl.gz", "--items-source",
            "IN/meta.jsonl.gz", *_ANY, *_OUT, victims=("reviews.jsonl.gz", "meta.jsonl.gz")),
    _target("rating_only", "--dataset", "amazon-2023-video-games", "--form", "rating_only", "--source",
            "IN/rating_only.csv", "--items-source", "none", *_ANY, *_OUT, victims=("rating_only.csv",)),
    *(
        _target(name, "--dataset", name, "--source", f"IN/{name}.zip", *_ANY, *_OUT, victims=(f"{name}.zip",))
        for name in ("ml-100k", "ml-1m", "ml-20m")
    ),
)  # fmt: skip


def write_sources(folder: Path) -> None:
    """Write the sources of every target."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(5)
    rows = [
        {"user_id": f"u{chance.randrange(8)}", "item_id": f"i{chance.randrange(12)}", "rating": chance.randrange(1, 6),
         "timestamp": 1_600_000_000 + 1000 * place}
        for place in range(80)
    ]  # fmt: skip
    titles = [{"item_id": f"i{item}", "title": f"Item, the {item}th ({1980 + item})"} for item in range(12)]
    _write_tables(folder, "events", rows)
    _write_tables(folder, "items", titles)
    polars.DataFrame(rows).write_csv(folder / "events.tsv", separator="\t")
    for name in ("events.csv", "events.jsonl"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
    reviews = [
        {"rating": float(row["rating"]), "title": "Good", "text": "Very.", "images": [], "asin": f"A{row['item_id']}",
         "parent_asin": f"B{row['item_id']}", "user_id": row["user_id"], "timestamp": 1000 * row["timestamp"],
         "helpful_vote": 0, "verified_purchase": True}
        for row in rows
    ]  # fmt: skip
    meta = [
        {
            "main_category": "Video Games",
            "title": row["title"],
            "average_rating": 4.5,
            "parent_asin": f"B{row['item_id']}",
        }
        for row in titles
    ]
    for name, found in (("reviews", reviews), ("meta", meta)):
        text = "".join(f"{json.dumps(row)}\n" for row in found)
        (folder / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
    table = [f"{row['user_id']},{row['parent_asin']},{row['rating']},{row['timestamp']}\n" for row in reviews]
    (folder / "rating_only.csv").write_text("user_id,parent_asin,rating,timestamp\n" + "".join(table))
    _write_movielens(folder, rows)


def _write_tables(folder: Path, name: str, rows: list[dict[str, object]]) -> None:
    frame = polars.DataFrame(rows)
    frame.write_csv(folder / f"{name}.csv")
    frame.write_ndjson(folder / f"{name}.jsonl")
    frame.write_parquet(folder / f"{name}.parquet")


def _write_movielens(folder: Path, rows: list[dict[str, object]]) -> None:
    numbers = [
        (int(str(row["user_id"])[1:]) + 1, int(str(row["item_id"])[1:]) + 1, row["rating"], row["timestamp"])
        for row in rows
    ]
    films = [(film, f"Film {film} ({1960 + film})") for film in range(1, 13)]
    archives = {
        "ml-100k": {
            "ml-100k/u.data": "".join("\t".join(map(str, row)) + "\n" for row in numbers),
            "ml-100k/u.item": "".join(f"{film}|{title}|01-Jan-1995||\n" for film, title in films),
        },
        "ml-1m": {
            "ml-1m/ratings.dat": "".join("::".join(map(str, row)) + "\n" for row in numbers),
            "ml-1m/movies.dat": "".join(f"{film}::{title}::Drama\n" for film, title in films),
        },
        "ml-20m": {
            "ml-20m/ratings.csv": "userId,movieId,rating,timestamp\n"
            + "".join(",".join(map(str, row)) + "\n" for row in numbers),
            "ml-20m/movies.csv": "movieId,title,genres\n"
            + "".join(f'{film},"{title}",Drama\n' for film, title in films),
        },
    }
    for name, members in archives.items():
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for member, text in members.items():
                archive.writestr(member, text)

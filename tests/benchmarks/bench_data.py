"""How fast and how large ``prepare_data`` is on data of the size of Amazon Reviews '23, Beauty and Personal Care.

``make bench-data``, or ``python tests/benchmarks/bench_data.py --work-dir FOLDER`` to keep the generated files, and
with ``--events 100000000`` more of them. The ratings are read by polars and, where it is installed, by one and two
workers of Ray. It prints wall seconds, peak memory and which files of Ray's folders differ, and asserts nothing.
"""

import argparse
import filecmp
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy
import polars
import pyarrow.csv

EVENTS = 24_000_000
EVENTS_OF_A_USER = 24.0 / 11.3
FILES = 16  # of ratings; Ray's workers read one each
ITEMS = 1_030_000
# Events per user: P(n) ~ n^-2.45 has the mean of 2.1 that Beauty and Personal Care has.
USER_EXPONENT = 2.45
MOST_EVENTS_OF_A_USER = 2_000

ROWS_AT_ONCE = 1_000_000
REVIEW_BYTES = 1_000_000_000
REVIEWERS = 565_000
FIRST_MS, LAST_MS = 1_000_000_000_000, 1_694_000_000_000


def write_ratings(folder: Path, events: int) -> None:
    """Write files in the rating_only form: user_id,parent_asin,rating,timestamp; in random order."""
    random = numpy.random.default_rng(0)
    users = user_numbers(random, events)
    share = 1 / (numpy.arange(ITEMS) + 50)
    until = numpy.cumsum(share / share.sum())
    for number, of_file in enumerate(numpy.array_split(users, FILES)):
        with whole_gzip(folder / f"part-{number:02}.csv.gz") as stream:
            for begin in range(0, len(of_file), ROWS_AT_ONCE):
                own = of_file[begin : begin + ROWS_AT_ONCE]
                items = numpy.searchsorted(until, random.random(len(own)))
                table = polars.DataFrame(
                    {
                        "user_id": user_ids(own),
                        "parent_asin": item_ids(items.clip(max=ITEMS - 1)),
                        "rating": random.integers(1, 6, len(own)).astype(float),
                        "timestamp": random.integers(FIRST_MS, LAST_MS, len(own)),
                    }
                ).to_arrow()
                options = pyarrow.csv.WriteOptions(include_header=begin == 0, quoting_style="none")
                pyarrow.csv.write_csv(table, stream, options)


def user_numbers(random: numpy.random.Generator, events: int) -> numpy.ndarray:
    """Draw the user of each event: few users have many events."""
    number = round(events / EVENTS_OF_A_USER)
    counts = numpy.arange(1, MOST_EVENTS_OF_A_USER + 1)
    weights = counts**-USER_EXPONENT
    users = numpy.repeat(numpy.arange(number), random.choice(counts, number, p=weights / weights.sum()))
    missing = events - len(users)
    if missing > 0:
        users = numpy.concatenate([users, random.integers(0, number, missing)])
    random.shuffle(users)
    return users[:events]


def user_ids(numbers: numpy.ndarray) -> polars.Series:
    """Spell user numbers as 28 characters, as Amazon does."""
    mixed = numbers.astype(numpy.uint64) * numpy.uint64(6364136223846793005)
    return polars.select("AE" + polars.Series(mixed).cast(polars.String).str.pad_start(20, "0") + "ABCDEF").to_series()


def item_ids(numbers: numpy.ndarray) -> polars.Series:
    """Spell item numbers as 10 characters, as Amazon does."""
    return polars.select("B0" + polars.Series(numbers).cast(polars.String).str.pad_start(8, "0")).to_series()


def write_reviews(path: Path) -> None:
    """Write raw reviews: JSON lines with all the fields of the published files."""
    random = numpy.random.default_rng(1)
    words = numpy.array([word.decode() for word in random.bytes(60_000).hex(" ", 3).encode().split()])
    texts = [" ".join(random.choice(words, length)) for length in random.geometric(1 / 60, 5_000)]
    written = 0
    with whole_gzip(path) as stream:
        while written < REVIEW_BYTES:
            users = user_ids(random.integers(0, REVIEWERS, 10_000)).to_list()
            items = item_ids(random.zipf(1.3, 10_000) % (ITEMS // 20)).to_list()
            lines = "".join(reviews(random, users, items, texts))
            written += len(lines)
            stream.write(lines.encode())


def reviews(random: numpy.random.Generator, users: list[str], items: list[str], texts: list[str]) -> Iterator[str]:
    """Yield a JSON line for each user-item pair."""
    moments = random.integers(FIRST_MS, LAST_MS, len(users)).tolist()
    chosen = random.integers(0, len(texts), len(users)).tolist()
    for user, item, moment, number in zip(users, items, moments, chosen, strict=True):
        text = texts[number]
        picture = {"small_image_url": f"https://images.example/{item}._SL256_.jpg", "attachment_type": "IMAGE"}
        review = {
            "rating": float(1 + number % 5),
            "title": text[:30],
            "text": text,
            "images": [picture] if number % 10 == 0 else [],
            "asin": item,
            "parent_asin": item,
            "user_id": user,
            "timestamp": moment,
            "helpful_vote": number % 7,
            "verified_purchase": number % 3 > 0,
        }
        yield json.dumps(review) + "\n"


class whole_gzip:  # noqa: N801 (used as a function)
    """A gzip file that gets its name when it is complete, so that a killed generation is not taken for data."""

    def __init__(self, path: Path) -> None:
        self.path, self.partial = path, path.with_suffix(".partial")

    def __enter__(self) -> gzip.GzipFile:
        self.file = gzip.GzipFile(self.partial, "wb", compresslevel=1)
        return self.file

    def __exit__(self, kind, error, traceback) -> None:
        self.file.close()
        if kind is None:
            self.partial.rename(self.path)


def memory_of(process: int) -> int:
    """Return the most bytes that one of a process and all below it has for itself, without what it shares."""
    parents, own = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            lines = (path / "status").read_text().partition("RssAnon:")[2]
        except OSError:  # it has ended
            continue
        own[int(path.name)] = int(lines.split()[0]) * 1024 if lines else 0
    family, grown = {process}, True
    while grown:
        children = {child for child, parent in parents.items() if parent in family} - family
        family |= children
        grown = bool(children)
    return max(own.get(member, 0) for member in family)


def measure(name: str, source: str, form: str, output: Path, *flags: str) -> float:
    """Run the stage in a process of its own, print its time and peak memory, return the seconds."""
    command = [sys.executable, "-m", "ssm4rec.stages.prepare_data", "--dataset", "amazon-2023-beauty"]
    command += ["--form", form, "--source", source, "--dataset-dir", str(output), *flags]
    begin = time.monotonic()
    # wait4, not getrusage(RUSAGE_CHILDREN): that is the maximum over all children so far.
    process = subprocess.Popen(command)
    largest, ended = 0, 0
    while not ended:
        largest = max(largest, memory_of(process.pid))
        time.sleep(0.5)
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
    seconds = time.monotonic() - begin
    if status != 0:
        sys.exit(f"{name}: prepare_data failed")
    peak = usage.ru_maxrss * 1024 / 1e9
    processor = usage.ru_utime + usage.ru_stime
    print(
        f"{name}: {seconds:.1f} s wall; the stage's process: {processor:.1f} s of processor, {peak:.2f} GB peak memory "
        f"with what it shares; the largest of all: {largest / 1e9:.2f} GB of its own",
        flush=True,
    )
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work-dir", type=Path, help="folder that keeps the generated files; default: a temporary one")
    parser.add_argument("--events", type=int, default=EVENTS, help="ratings to generate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work_dir or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        ratings, raw = folder / f"ratings-{options.events}", folder / "reviews.jsonl.gz"
        if not (ratings / f"part-{FILES - 1:02}.csv.gz").exists():
            print(f"generating {ratings} ...", flush=True)
            ratings.mkdir(exist_ok=True)
            write_ratings(ratings, options.events)
        name, read = f"rating_only, {options.events:,} events", (f"{ratings}/part-*.csv.gz", "rating_only")
        plain = Path(temporary) / "polars"
        measure(f"{name}, polars", *read, plain)
        for workers in (1, 2) if find_spec("ray") else ():
            made = Path(temporary) / f"ray-{workers}"
            measure(f"{name}, Ray, {workers} workers", *read, made, "--engine", "ray", "--workers", str(workers))
            files = [path.name for path in plain.iterdir()]
            print(f"  files that differ from those of polars: {filecmp.cmpfiles(plain, made, files, False)[1:]}")
        if not raw.exists():
            print(f"generating {raw} ...", flush=True)
            write_reviews(raw)
        seconds = measure("raw reviews, 1 GB of text", str(raw), "raw", Path(temporary) / "reviews")
        print(f"raw reviews: {REVIEW_BYTES / 1e6 / seconds:.0f} MB of text a second, start of the process included")


if __name__ == "__main__":
    main()

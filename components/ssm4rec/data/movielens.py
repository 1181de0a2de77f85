"""MovieLens, from GroupLens' archives; ML-100K also from the copy in the RecBole wheel on the package index.

Licence: research use, no redistribution without permission. So nothing of it is part of this project or its images.
https://grouplens.org/datasets/movielens/
"""

import csv
import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Final

import polars
import pyarrow

from ssm4rec.data.archives import open_member
from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.delimited import Layout, find_column, read_delimited
from ssm4rec.data.download import Fetched, fetch
from ssm4rec.data.event_files import EventFiles
from ssm4rec.data.interactions import Columns
from ssm4rec.data.remote import UnreachableError
from ssm4rec.data.source import Source, SourceOptions
from ssm4rec.data.streams import one_line, open_stream, readable
from ssm4rec.data.wheels import fetch_wheel
from ssm4rec.runtime.errors import InputError

log = logging.getLogger(__name__)

# MovieLens' 62,000 films take 3 MB.
_LONGEST_LINE: Final = 1 << 18
_LARGEST_MEMBER: Final = 16 << 20
_TITLES_AT_A_TIME: Final = 10_000
_COLUMNS: Final = Columns("user_id", "item_id", "timestamp", "rating")


_GENRES: Final = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip
"""In the order of ML-100K's u.genre."""


@dataclass(frozen=True)
class _Ratings:
    """The ratings in an archive; ``header`` names all columns if the file does not."""

    member: str
    delimiter: str
    columns: Columns = _COLUMNS
    header: tuple[str, ...] | None = None


@dataclass(frozen=True)
class _Movies:
    """The movies in an archive; item id and title are the first two columns.

    Their genres are texts in the column ``genres`` or, where that is 0, a 0 or 1 for each of ``_GENRES`` at the end.
    """

    member: str
    delimiter: str
    genres: int
    encoding: str = "utf-8"
    has_header: bool = False


@dataclass(frozen=True)
class _Archive:
    ratings: _Ratings
    movies: _Movies
    md5: str = ""


_ARCHIVES: Final = {
    "ml-100k": _Archive(
        _Ratings("ml-100k/u.data", "\t", header=("user_id", "item_id", "rating", "timestamp")),
        _Movies("ml-100k/u.item", "|", 0, "latin-1"),
        "0e33842e24a9c977be4e0107933c0723",
    ),
    "ml-1m": _Archive(
        # "::" is read as ":" around empty columns.
        _Ratings(
            "ml-1m/ratings.dat",
            ":",
            header=("user_id", "empty_1", "item_id", "empty_2", "rating", "empty_3", "timestamp"),
        ),
        _Movies("ml-1m/movies.dat", "::", 2, "latin-1"),
        "c4d9eecfca2ab87c1945afe126590906",
    ),
    "ml-20m": _Archive(
        _Ratings("ml-20m/ratings.csv", ",", Columns("userId", "movieId", "timestamp", "rating")),
        _Movies("ml-20m/movies.csv", ",", 2, has_header=True),
        "cd245b17a1ae2cc31bb14903e1204af3",
    ),
}
MOVIELENS: Final = tuple(_ARCHIVES)

# RecBole 1.2.1 (MIT) ships ML-100K in its own format: tab separated, a header with types. The hash is PyPI's.
_WHEEL: Final = "recbole==1.2.1"
_WHEEL_SHA256: Final = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_WHEEL_FOLDER: Final = "recbole/dataset_example/ml-100k"
_WHEEL_CONTENT: Final = _Archive(
    _Ratings(
        f"{_WHEEL_FOLDER}/ml-100k.inter",
        "\t",
        Columns("user_id:token", "item_id:token", "timestamp:float", "rating:float"),
    ),
    _Movies(f"{_WHEEL_FOLDER}/ml-100k.item", "\t", 3, has_header=True),
)


def read_movielens(options: SourceOptions) -> Source:
    """Return a MovieLens archive, or ml-100k's wheel; raise InputError if it cannot be had, or is not as published."""
    archive = _ARCHIVES[options.dataset]
    official = f"https://files.grouplens.org/datasets/movielens/{options.dataset}.zip"
    try:
        fetched = fetch(options.source or official, options.cache_dir, archive.md5, options.any_checksum)
    except UnreachableError:
        if options.dataset != "ml-100k" or options.source:
            raise
        log.info("%s cannot be reached; taking ML-100K from the package index (%s)", official, _WHEEL)
        fetched = _fetch_wheel(options.cache_dir)
    if fetched.path.suffix == ".whl":
        archive = _WHEEL_CONTENT
    ratings = _RatingsFile(fetched.path, fetched.bytes, archive.ratings)
    events = EventFiles((ratings,), archive.ratings.columns, "s", BadRows(options.bad_rows))
    wants_titles = options.items_source != "none"
    titles = _read_titles(fetched.path, archive.movies) if wants_titles else iter(())
    return Source(events, titles, (fetched,), wants_titles)


@dataclass(frozen=True)
class _RatingsFile:
    """The ratings of an archive on this machine."""

    archive: Path
    bytes: int
    ratings: _Ratings

    @property
    def name(self) -> str:
        return f"{self.archive}:{self.ratings.member}"

    def batches(self, bad_rows: BadRows) -> Iterator[pyarrow.RecordBatch]:
        columns, delimiter = self.ratings.columns, self.ratings.delimiter
        with (
            readable(self.archive),
            open_member(self.archive, self.ratings.member) as stream,
            open_stream(stream, mark=bad_rows.drops_all) as text,
        ):
            # Before Arrow reads anything of it.
            header = self.ratings.header or tuple(
                stream.readline(_LONGEST_LINE).decode("utf-8", "replace").rstrip("\r\n").split(delimiter)
            )
            wanted = (columns.user, columns.item, columns.time, columns.rating)
            for column in wanted:
                find_column(column, header, self.name)
            yield from read_delimited(text, self.name, wanted, Layout(delimiter, header, quoted=False), bad_rows)


def _read_titles(archive: Path, movies: _Movies) -> Iterator[polars.DataFrame]:
    with readable(archive), open_member(archive, movies.member) as stream:
        lines = _lines(stream, f"{archive}:{movies.member}", movies.encoding)
        rows = csv.reader(lines) if movies.delimiter == "," else (line.split(movies.delimiter) for line in lines)
        named = itertools.islice((row for row in rows if len(row) > 1), int(movies.has_header), None)
        texts = ([*row[:2], _genres(row, movies.genres)] for row in named)
        columns = dict.fromkeys(("item_id", "title", "words"), polars.String)
        try:
            while batch := list(itertools.islice(texts, _TITLES_AT_A_TIME)):
                yield polars.DataFrame(batch, columns, orient="row")
        except csv.Error as error:
            raise InputError(f"{archive}:{movies.member}: not readable ({error}); get the archive again") from None


def _genres(row: list[str], column: int) -> str:
    """Return the genres of a row, separated by spaces.

    >>> _genres(["1", "Toy Story (1995)", "Animation|Comedy"], 2)
    'Animation Comedy'
    """
    if column:
        return " ".join(row[column].split("|")) if len(row) > column else ""
    flags = row[-len(_GENRES) :] if len(row) > len(_GENRES) else []
    return " ".join(genre for genre, flag in zip(_GENRES, flags, strict=False) if flag == "1")


def _lines(stream: IO[bytes], name: str, encoding: str) -> Iterator[str]:
    """Give the lines of a member without their ends: a small archive may hold gigabytes."""
    read = 0
    for number, line in enumerate(iter(lambda: stream.readline(_LONGEST_LINE + 1), b""), 1):
        read += len(line)
        if len(line) > _LONGEST_LINE or read > _LARGEST_MEMBER:
            raise InputError(
                f"{name}: a line is longer than {_LONGEST_LINE >> 10} KiB, or the file than "
                f"{_LARGEST_MEMBER >> 20} MiB; this is not a list of films"
            )
        try:
            yield line.rstrip(b"\r\n").decode(encoding)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{name}, line {number}: not text in {encoding} ({one_line(error)}); get the archive again"
            ) from None


def _fetch_wheel(cache_dir: Path) -> Fetched:
    try:
        path = fetch_wheel(_WHEEL, _WHEEL_SHA256, cache_dir)
    except InputError as error:
        raise InputError(
            f"ml-100k: GroupLens cannot be reached, and {error}; set --source to a copy of ml-100k.zip"
        ) from None
    return replace(fetch(str(path), cache_dir), address=f"pip:{_WHEEL}", checksum="verified")

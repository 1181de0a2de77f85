"""What the user asks of a data set, and what reading it gives: the two ends of every source."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars

from ssm4rec.data.download import Fetched
from ssm4rec.data.interactions import Interactions


@dataclass(frozen=True)
class SourceOptions:
    """Which data set to read, and how; the fields are the flags of the ``prepare_data`` stage.

    Attributes:
        dataset: the data set's name.
        source: addresses that replace the official one, separated by commas, folders and patterns among them (see
            ``data/addresses.py``); "": the official one.
        items_source: the same of files of titles; "": the official one; "none": no titles.
        any_checksum: accept a file whose checksum is not the published one.
        cache_dir: where downloads are kept.
        form: ``raw`` or ``rating_only``, for Amazon Reviews '23.
        format: ``auto``, ``csv``, ``jsonl`` or ``parquet``, for the user's own events.
        delimiter: ``auto`` or a key of ``streams.DELIMITERS``, for CSV.
        encoding: ``auto`` or a Python codec, for CSV and JSONL.
        bad_rows: ``refuse`` or ``drop``.
        user_column, item_column, time_column, rating_column, title_column: columns of the user's own events.
        time_unit: ``auto``, ``s``, ``ms``, ``us``, ``ns`` or ``order``.
    """

    dataset: str
    cache_dir: Path
    source: str = ""
    items_source: str = ""
    any_checksum: bool = False
    form: str = "raw"
    format: str = "auto"
    delimiter: str = "auto"
    encoding: str = "auto"
    bad_rows: str = "refuse"
    user_column: str = "user_id"
    item_column: str = "item_id"
    time_column: str = "timestamp"
    time_unit: str = "auto"
    rating_column: str = ""
    title_column: str = "title"


@dataclass(frozen=True)
class Source:
    """A data set that has been read.

    Attributes:
        interactions: all events.
        titles: frames with the columns ``item_id`` and ``title`` (strings), read while they are asked for: a large
            catalog's metadata is never in memory as a whole.
        files: the files that were read, for the manifest.
        dropped: the number of bad rows left out of the events, by reason.
        dropped_titles: the same of the files of titles; complete when ``titles`` has been read.
        has_items_files: whether the user or the data set names files of titles.
    """

    interactions: Interactions
    titles: Iterator[polars.DataFrame] = field(default_factory=lambda: iter(()))
    files: tuple[Fetched, ...] = ()
    has_items_files: bool = False
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_titles: Counter[str] = field(default_factory=Counter)


def titles_source(options: SourceOptions, official: str = "") -> str:
    """Return the addresses of the titles, separated by commas: those asked for, or the official one."""
    return "" if options.items_source == "none" else options.items_source or official

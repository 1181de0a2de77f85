"""What the user asks of a data set, and what reading it gives: the two ends of every source."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import polars

from ssm4rec.data.download import Fetched
from ssm4rec.data.event_files import EventFiles
from ssm4rec.data.interactions import Interactions


@dataclass(frozen=True)
class SourceOptions:
    """Which data set to read, and how.

    The fields are settings of the ``prepare_data`` stage, as ``settings/data.py`` describes them, and ``cache_dir`` the
    folder that it means. ``format``, the columns and ``time_unit`` are those of the user's own events.
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
    words_column: str = ""


@dataclass(frozen=True)
class Source:
    """A data set whose files are here.

    Attributes:
        events: files of events, which an engine reads.
        titles: frames with the columns ``item_id``, ``title`` and, where the source says more of items in words,
            ``words`` (strings), read while they are asked for: a large catalog's metadata is never in memory at once.
        dropped_titles: the number of bad rows left out of the titles, by reason; complete when they have been read.
        has_items_files: whether the user or the data set names files of titles.
    """

    events: EventFiles
    titles: Iterator[polars.DataFrame] = field(default_factory=lambda: iter(()))
    files: tuple[Fetched, ...] = ()
    has_items_files: bool = False
    dropped_titles: Counter[str] = field(default_factory=Counter)

    @cached_property
    def interactions(self) -> Interactions:
        """The events, in memory; InputError is raised if they cannot be read."""
        return self.events.read()

    @property
    def dropped(self) -> Counter[str]:
        """The number of bad rows left out of the events, by reason; complete when they have been read."""
        return self.events.bad_rows.dropped


def titles_source(options: SourceOptions, official: str = "") -> str:
    """Return the addresses of the titles, separated by commas: those asked for, or the official one."""
    return "" if options.items_source == "none" else options.items_source or official

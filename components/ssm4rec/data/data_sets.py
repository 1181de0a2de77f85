"""The data sets by name."""

from typing import Final

from ssm4rec.data.amazon import PREFIX as AMAZON_PREFIX
from ssm4rec.data.amazon import read_amazon
from ssm4rec.data.events import read_events
from ssm4rec.data.movielens import MOVIELENS, read_movielens
from ssm4rec.data.source import Source, SourceOptions
from ssm4rec.errors import InputError

EVENTS: Final = "events"
DATA_SETS: Final = (
    *MOVIELENS,
    f"{AMAZON_PREFIX}video-games",
    f"{AMAZON_PREFIX}beauty",
    f"{AMAZON_PREFIX}<category>",
    EVENTS,
)


def is_published(name: str) -> bool:
    """Return whether a data set of that name is published, so that nobody's own may have it."""
    return name in MOVIELENS or name.startswith(AMAZON_PREFIX)


def read_data_set(options: SourceOptions) -> Source:
    """Read the data set that ``options`` name.

    Raises:
        InputError: there is no such data set, or it cannot be had or read.
    """
    name = options.dataset
    if name in MOVIELENS:
        return read_movielens(options)
    if name.startswith(AMAZON_PREFIX):
        return read_amazon(options)
    if name == EVENTS:
        return read_events(options)
    raise InputError(f"--dataset {name}: unknown data set; use one of {', '.join(DATA_SETS)}")

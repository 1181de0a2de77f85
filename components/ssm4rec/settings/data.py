"""Settings of the data that prepare_data takes, and that the studies hand to it: each said here alone."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from ssm4rec.artifacts.names import LEAVE_ONE_OUT, SPLITTINGS, SUCCESSIVE, TIME_TARGETS
from ssm4rec.data.amazon import FORMS
from ssm4rec.data.bad_rows import BAD_ROWS, REFUSE
from ssm4rec.data.data_sets import DATA_SETS
from ssm4rec.data.engine import ENGINES, POLARS
from ssm4rec.data.event_order import EVENT_ORDERS, EXACT
from ssm4rec.data.filtering import DEDUPLICATE
from ssm4rec.data.locations import FORMATS
from ssm4rec.data.streams import DELIMITERS
from ssm4rec.data.time_units import TIME_UNITS
from ssm4rec.settings.command_line import number, one_of, value_refused, whole_number
from ssm4rec.settings.flags import Flag, StageSettings
from ssm4rec.settings.nodes import LARGEST_NUMBER_OF_NODES
from ssm4rec.settings.outputs import input_addresses, kept_folder


def _encoding(text: str) -> str:
    try:
        if text != "auto":
            "".encode(text)  # codecs.lookup also knows some that are not of texts, such as base64
    except (LookupError, ValueError):
        raise value_refused(text, "not an encoding that Python knows; try utf-8 or latin-1") from None
    return text


def _rating(text: str) -> float | None:
    return None if text == "none" else number(text, "neither a number nor none")


AS_PROFILE: Final = -1
"""So many users to draw as the profile of a study says."""

DatasetName = Annotated[str, Flag(f"name of the data set: {', '.join(DATA_SETS)}", component_name="dataset_name")]
Engine = Annotated[
    str,
    Flag(
        "what prepares the events: polars, in one process's memory; ray: several processes, each a share of files "
        "and users, for more than one machine holds. The dataset folder is the same",
        one_of(ENGINES),
    ),
]
DataNodes = Annotated[
    int,
    Flag(
        "nodes of the cluster that prepare the data with --engine ray, each with all cores that the task asks for, and "
        "one more for the stage's own process: prepare_data creates a RayJob (KubeRay) and ends with it; 1: one "
        "machine, or the cluster that RAY_ADDRESS names",
        whole_number(1, LARGEST_NUMBER_OF_NODES),
    ),
]


@dataclass(frozen=True, kw_only=True)
class Source(StageSettings):
    """Where the files of a data set are."""

    GROUP: ClassVar[str] = "source"

    source: Annotated[
        str,
        Flag(
            "address of the events instead of the official one: a path, file://, http(s):// or s3://; several "
            "separated by commas (one in a name: %2C after file://); a local folder or a pattern such as "
            "'clicks/*.csv' stands for its files, sorted by name; empty: official",
            input_addresses,
        ),
    ] = ""
    data_version: Annotated[
        str,
        Flag(
            "state of the source files when the run started, such as 2026-11-28; another text has them read again; "
            "empty: found out by a study, else not compared"
        ),
    ] = ""
    any_checksum: Annotated[bool, Flag("accept a file whose checksum is not the published one")] = False
    cache_dir: Annotated[
        str,
        Flag("folder that keeps downloads; empty: $XDG_CACHE_HOME/ssm4rec or ~/.cache/ssm4rec", kept_folder),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class PublishedData(Source):
    """Which data set, and what every one can be told."""

    GROUP: ClassVar[str] = "data"

    dataset: DatasetName
    name: Annotated[
        str,
        Flag(
            "name of your own data set (--dataset events): letters, digits, '.', '_' and '-'; empty: that of its file, "
            "or of the folder of several"
        ),
    ] = ""
    items_source: Annotated[
        str, Flag("address of the item titles, as --source; empty: official; none: no titles", input_addresses)
    ] = ""
    event_order: Annotated[
        str,
        Flag(
            "of events whose times tie: exact: as in the file; recbole: as RecBole orders them, which holds the time "
            "column as it is in float32 (MovieLens in steps of 64 seconds); random-ties: at random, so that the order "
            "of ties in the file gives nothing away",
            one_of(EVENT_ORDERS),
        ),
    ] = EXACT
    draw_users: Annotated[
        int,
        Flag(
            "draw so many users by chance of those that all other filters leave, or take all if there are no more; "
            "0: take all; -1: take all, but 1,000 in a study with profile smoke",
            whole_number(-1),
        ),
    ] = AS_PROFILE
    k_core: Annotated[
        int,
        Flag("k-core: iteratively drop users and items with fewer events than this; 0: keep all", whole_number(0)),
    ] = 5


@dataclass(frozen=True, kw_only=True)
class StudyData(PublishedData):
    """Which data set a study is about, and what prepares it."""

    GROUP: ClassVar[str] = "data"

    engine: Engine = POLARS
    data_nodes: DataNodes = 1


@dataclass(frozen=True, kw_only=True)
class OwnData(PublishedData):
    """What data of your own need to be told, and what may be left out of any data."""

    GROUP: ClassVar[str] = "files, columns and filters"

    bad_rows: Annotated[
        str,
        Flag(
            "rows without a readable user, item or time, with a rating that is not a number, or malformed: refuse them "
            "and name the first one, or drop them and count them",
            one_of(BAD_ROWS),
        ),
    ] = REFUSE
    form: Annotated[
        str, Flag("Amazon Reviews '23: raw reviews, or the rating-only tables (rating_only)", one_of(FORMS))
    ] = "raw"
    format: Annotated[
        str,
        Flag(
            "format of the files: csv, jsonl, parquet, or auto: by their names. The items file has the format that its "
            "name tells, and this one if it tells none",
            one_of(("auto", *FORMATS)),
        ),
    ] = "auto"
    delimiter: Annotated[
        str,
        Flag(
            f"what separates the values of CSV files: {', '.join(DELIMITERS)}, or auto: the one that separates the "
            "wanted columns in the header",
            one_of(("auto", *DELIMITERS)),
        ),
    ] = "auto"
    encoding: Annotated[
        str,
        Flag(
            "of CSV and JSONL files, such as latin-1, cp1252 or utf-16; auto: UTF-8, unless a byte order mark says "
            "UTF-16 or UTF-32",
            _encoding,
        ),
    ] = "auto"
    user_column: Annotated[str, Flag("column of the user ids, in files of your own")] = "user_id"
    item_column: Annotated[str, Flag("column of the item ids, in the events and in the items file")] = "item_id"
    time_column: Annotated[str, Flag("column of the times: numbers, dates or ISO 8601 texts")] = "timestamp"
    time_unit: Annotated[
        str,
        Flag(
            f"unit of numbers in the time column: {', '.join(TIME_UNITS)}; order: they only order events; auto: by "
            "their size",
            one_of(TIME_UNITS),
        ),
    ] = "auto"
    rating_column: Annotated[str, Flag("column of the ratings; empty: there is none")] = ""
    title_column: Annotated[str, Flag("column of the titles in the items file")] = "title"
    words_column: Annotated[
        str,
        Flag(
            "column of more words about the items in the items file, such as their categories: recommenders of items "
            "with words read them after the title; empty: there is none"
        ),
    ] = ""
    deduplicate: Annotated[
        str,
        Flag(
            "which event of the same user and item stays: first, last, or none: all stay, as in RecBole",
            one_of(DEDUPLICATE),
        ),
    ] = "none"
    minimum_rating: Annotated[float | None, Flag("drop events rated lower or not at all; none: keep all", _rating)] = (
        None
    )


@dataclass(frozen=True, kw_only=True)
class PreparedData(OwnData):
    """How the data are split, in addition."""

    GROUP: ClassVar[str] = "split"

    splitting: Annotated[
        str,
        Flag(
            "leave-one-out: each user's last two items; global-time: two cuts in time for all users",
            one_of(SPLITTINGS),
        ),
    ] = LEAVE_ONE_OUT
    validation_fraction: Annotated[float, Flag("share of the events after the first cut (global-time)")] = 0.1
    test_fraction: Annotated[float, Flag("share of the events after the second cut (global-time)")] = 0.1
    time_target: Annotated[
        str,
        Flag(
            "which of a user's events in a period are targets (global-time): successive: every one, each with all "
            "before it as its history; or the last, a random one, the first",
            one_of(TIME_TARGETS),
        ),
    ] = SUCCESSIVE

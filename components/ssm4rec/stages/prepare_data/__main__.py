"""Prepare a data set for training and evaluation: fetch, filter, order, split, write the dataset folder."""

import argparse
import functools
import logging
from typing import Any, Final

from polars import Series

from ssm4rec.command_line import StageParser, boolean, number, one_of, run_stage, whole_number
from ssm4rec.contracts import GLOBAL_TIME, LEAVE_ONE_OUT, MANIFEST, SPLITTINGS, SUCCESSIVE, TIME_TARGETS
from ssm4rec.data.amazon import FORMS
from ssm4rec.data.bad_rows import BAD_ROWS, REFUSE, count_words
from ssm4rec.data.data_sets import DATA_SETS, EVENTS, check_data_set, check_files, read_addresses, read_data_set
from ssm4rec.data.dataset import titled
from ssm4rec.data.dataset_writer import Sequences, build_sequences, collect_titles, write_dataset
from ssm4rec.data.event_order import EVENT_ORDERS, EXACT, RECBOLE, in_order, order_facts
from ssm4rec.data.filtering import DEDUPLICATE, filter_interactions
from ssm4rec.data.locations import local_path
from ssm4rec.data.names import data_set_name
from ssm4rec.data.readers import FORMATS
from ssm4rec.data.source import Source, SourceOptions
from ssm4rec.data.splitting import Split, check_fractions, global_time, leave_one_out, tested_places
from ssm4rec.data.streams import DELIMITERS, excerpt
from ssm4rec.data.time_units import ORDER, TIME_UNITS, in_milliseconds
from ssm4rec.data.versions import check_unchanged, file_state, find_versions
from ssm4rec.errors import InputError
from ssm4rec.files import cache_folder, whole_folder
from ssm4rec.outputs import input_addresses, kept_folder, output_folder
from ssm4rec.tracking import tracked_task

NO_RATINGS: Final = "--minimum-rating: the events have no ratings; name their column with --rating-column"
ROUNDED_TIMES: Final = (
    "--event-order recbole: it rounds times, --split global-time needs them exact; use --split leave-one-out "
    "(and in a study --global-time none)"
)
NO_TIMES: Final = (
    "--split global-time: the time column holds order numbers, not times; use --split leave-one-out "
    "(and in a study --global-time none)"
)

# Flags that shape the data: the manifest records them.
_SETTINGS = (
    "form", "format", "delimiter", "encoding", "bad_rows",
    "user_column", "item_column", "time_column", "time_unit", "rating_column", "title_column",
    "event_order", "deduplicate", "minimum_rating", "k_core", "split", "validation_fraction", "test_fraction",
    "time_target",
    "data_version",
)  # fmt: skip

log = logging.getLogger(__name__)


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.prepare_data", "Fetch a data set, filter, order and split it.")
    add = parser.add_argument
    add("--dataset", required=True, help=f"name of the data set: {', '.join(DATA_SETS)}")
    add("--name", default="", help="name of your own data set (--dataset events): letters, digits, '.', '_' and '-'; "
        "empty: that of its file, or of the folder of several")  # fmt: skip
    add(
        "--dataset-dir",
        type=output_folder("prepare_data"),
        required=True,
        help="folder to write; a dataset folder there is replaced, anything else refused",
    )

    add = parser.add_argument_group("source").add_argument
    add(
        "--source",
        type=input_addresses,
        default="",
        help="address of the events instead of the official one: a path, file://, http(s):// or s3://; several "
        "separated by commas (one in a name: %%2C after file://); a local folder or a pattern such as 'clicks/*.csv' "
        "stands for its files, sorted by name; "
        "empty: official",
    )
    add("--items-source", type=input_addresses, default="",
        help="the same for the item titles; empty: official; none: no titles")  # fmt: skip
    add("--data-version", default="", help="state of the source files when the run started, as a study finds it out; "
        "empty: nothing is compared")  # fmt: skip
    add("--any-checksum", type=boolean, default=False, help="accept a file whose checksum is not the published one")
    add(
        "--cache-dir",
        type=kept_folder,
        default="",
        help="folder that keeps downloads; empty: $XDG_CACHE_HOME/ssm4rec or ~/.cache/ssm4rec",
    )
    add("--bad-rows", type=one_of(BAD_ROWS), default=REFUSE,
        help="rows without a readable user, item or time, with a rating that is not a number, or malformed: refuse "
        "them and name the first one, or drop them and count them")  # fmt: skip
    add("--form", type=one_of(FORMS), default="raw", help="Amazon Reviews '23: raw reviews, or the rating-only tables")

    add = parser.add_argument_group("the columns of --dataset events").add_argument
    add("--format", type=one_of(("auto", *FORMATS)), default="auto", help="format of the files; auto: by their "
        "names. The items file has the format that its name tells, and this one if it tells none")  # fmt: skip
    add("--delimiter", type=one_of(("auto", *DELIMITERS)), default="auto",
        help="what separates the values of CSV files; auto: the comma, tab, semicolon or pipe that separates "
        "the wanted columns in the header")  # fmt: skip
    add("--encoding", type=_encoding, default="auto", help="of CSV and JSONL files, such as latin-1, cp1252 or "
        "utf-16; auto: UTF-8, unless a byte order mark says UTF-16 or UTF-32")  # fmt: skip
    add("--user-column", default="user_id", help="column of the user ids")
    add("--item-column", default="item_id", help="column of the item ids, in the events and in the items file")
    add("--time-column", default="timestamp", help="column of the times: numbers, dates or ISO 8601 texts")
    add("--time-unit", type=one_of(TIME_UNITS), default="auto",
        help="unit of numbers in the time column; order: they only order events; auto: by their size")  # fmt: skip
    add("--rating-column", default="", help="column of the ratings; empty: there is none")
    add("--title-column", default="title", help="column of the titles in the items file")

    add = parser.add_argument_group("order and filters").add_argument
    add("--event-order", type=one_of(EVENT_ORDERS), default=EXACT,
        help="of events whose times tie: exact: as in the file; recbole: as RecBole orders MovieLens, whose times it "
        "rounds to 64 seconds; random-ties: at random, so that the file gives nothing away")  # fmt: skip
    add("--deduplicate", type=one_of(DEDUPLICATE), default="none",
        help="which event of the same user and item stays; none: all stay, as in RecBole")  # fmt: skip
    add("--minimum-rating", type=_rating, default="none", help="drop events rated lower or not at all; none: keep all")
    add(
        "--k-core",
        type=whole_number(0),
        default=5,
        help="drop users and items with fewer events, until none is left; 0: keep all",
    )

    add = parser.add_argument_group("split").add_argument
    add("--split", type=one_of(SPLITTINGS), default=LEAVE_ONE_OUT,
        help="leave-one-out: each user's last two items; global-time: two cuts in time for all users")  # fmt: skip
    add("--validation-fraction", type=number, default=0.1, help="share of the events after the first cut (global-time)")
    add("--test-fraction", type=number, default=0.1, help="share of the events after the second cut (global-time)")
    add("--time-target", type=one_of(TIME_TARGETS), default=SUCCESSIVE, help="which of a user's events in a period "
        "are targets (global-time): successive: every one, each with all before it as its history; or the last, a "
        "random one, the first")  # fmt: skip
    return parser


def check(options: argparse.Namespace) -> None:
    """Raise InputError if the flags are wrong on every machine, whatever the data."""
    check_fractions(options.validation_fraction, options.test_fraction)
    data_set_name(options.dataset, options.name, options.source)
    check_data_set(_source_options(options))
    own = options.dataset == EVENTS
    if own and options.minimum_rating is not None and not options.rating_column:
        raise InputError(NO_RATINGS)
    if own and options.split == GLOBAL_TIME and options.time_unit == ORDER:
        raise InputError(NO_TIMES)
    if options.split == GLOBAL_TIME and options.event_order == RECBOLE:
        raise InputError(ROUNDED_TIMES)


def check_here(options: argparse.Namespace) -> None:
    """Raise InputError if this machine lacks what the flags ask for."""
    check_files(_source_options(options))


def run(options: argparse.Namespace) -> None:
    """Prepare the data set, track what was done, print the counts."""
    check(options)
    options.name = data_set_name(options.dataset, options.name, options.source)
    name = titled({"dataset": options.name, "split": {"name": options.split}})
    labels = {"stage": "prepare", "dataset": options.name, "splitting": options.split}
    with tracked_task(f"prepare {name}", labels) as tracker:
        manifest = _prepare(options)
        named = {"dataset": options.name, "kind": options.dataset, "splitting": options.split}
        tracker.settings({**named, "preparation": manifest["settings"]})
        tracker.metrics({name: float(count) for name, count in manifest["counts"].items()})
        tracker.dataset(manifest, "preparation")
        tracker.artifact(options.dataset_dir / MANIFEST)
    _print_counts(manifest)


def _prepare(options: argparse.Namespace) -> dict[str, Any]:
    """Write the dataset folder, whole or not at all, and return its manifest.

    Raises:
        InputError: a flag, a file or its content is at fault.
    """
    # The output folder comes first: one that cannot be written is reported before the download, not after it.
    with whole_folder(options.dataset_dir, "prepare_data") as folder:
        asked = _source_options(options)
        addresses, state = read_addresses(asked), functools.partial(file_state, cache_dir=asked.cache_dir)
        # Two questions: is it what the run found when it started, and does it stay as it is while it is read?
        check_unchanged(options.data_version, addresses, state)
        here = [address for address in addresses if local_path(address) is not None]
        before = find_versions(here, state).text
        source = read_data_set(asked)
        interactions = source.interactions
        if options.minimum_rating is not None and not interactions.has_ratings:
            raise InputError(NO_RATINGS)
        if options.split == GLOBAL_TIME and interactions.time_kind == ORDER:
            raise InputError(NO_TIMES)
        frame, filters = filter_interactions(
            in_milliseconds(
                in_order(interactions.frame, options.event_order, interactions.time_kind), interactions.time_kind
            ),
            options.deduplicate,
            options.minimum_rating,
            options.k_core,
        )
        sequences = build_sequences(frame)
        titles = collect_titles(sequences.item_ids, source.titles)
        check_unchanged(before, here, state)
        check_unchanged(options.data_version, addresses, state)
        _check_titles(titles, sequences.item_ids, source, options)
        settings = {name: getattr(options, name) for name in _SETTINGS}
        split = _split(options, sequences)
        time_kind = ORDER if interactions.time_kind == ORDER else "ms"
        return write_dataset(
            folder,
            options.name,
            sequences,
            split,
            titles,
            {
                "kind": options.dataset,
                "sources": [file.manifest_entry() for file in source.files],
                "settings": settings,
                "dropped_rows": {"events": dict(source.dropped), "items": dict(source.dropped_titles)},
                "filters": filters,
                "has_ratings": interactions.has_ratings,
                "time_kind": time_kind,
                "event_order": order_facts(
                    options.event_order,
                    sequences.times,
                    time_kind,
                    sequences.users,
                    sequences.items,
                    tested_places(sequences.offsets, split),
                ),
                "split": {"name": options.split},
            },
        )


def _source_options(options: argparse.Namespace) -> SourceOptions:
    return SourceOptions(
        dataset=options.dataset,
        cache_dir=cache_folder(options.cache_dir),
        source=options.source,
        items_source=options.items_source,
        any_checksum=options.any_checksum,
        form=options.form,
        format=options.format,
        user_column=options.user_column,
        item_column=options.item_column,
        time_column=options.time_column,
        time_unit=options.time_unit,
        rating_column=options.rating_column,
        title_column=options.title_column,
        delimiter=options.delimiter,
        encoding=options.encoding,
        bad_rows=options.bad_rows,
    )


def _split(options: argparse.Namespace, sequences: Sequences) -> Split:
    if options.split == GLOBAL_TIME:
        return global_time(
            sequences.times,
            sequences.offsets,
            options.validation_fraction,
            options.test_fraction,
            options.time_target,
        )
    return leave_one_out(sequences.offsets)


def _print_counts(manifest: dict[str, Any]) -> None:
    """Print what was read, the counts after each filter, and the last ones in the paper's counting too."""
    for source in manifest["sources"]:
        print(f"{source['address']}: {source['bytes']:,} bytes, md5 {source['md5']}, checksum {source['checksum']}")
    for what, dropped in manifest["dropped_rows"].items():
        if dropped:
            print(f"dropped {sum(dropped.values()):,} bad rows of the {what}: {count_words(dropped)}")
    rows = [(f"{step['filter']} {step['setting']}", step["after"]) for step in manifest["filters"]]
    rows.append(("as RecBole counts (+1)", manifest["recbole_counts"]))
    print(f"{'':24}{'users':>12}{'items':>12}{'interactions':>14}")
    for label, counts in rows:
        print(f"{label:24}{counts['users']:>12,}{counts['items']:>12,}{counts['interactions']:>14,}")
    split = manifest["split"]
    print(
        f"{manifest['dataset']}, {split['name']}: {split['training_interactions']:,} training interactions, "
        f"{_targets(split, 'validation')}, {_targets(split, 'test')}"
    )
    order = manifest["event_order"]
    alike = "" if order["pairs_in_one_order"] is None else f", {order['pairs_in_one_order']:.1%} of them in one order"
    print(
        f"order {order['name']}: {order['neighbours_that_tie']:.1%} of neighbouring events tie{alike}; of the test "
        f"targets {order['targets_in_ties']:.1%} tie with another event and {order['targets_that_repeat']:.1%} repeat "
        "an item"
    )
    times = "times" if manifest["time_kind"] == "ms" else "order numbers instead of times"
    print(f"{manifest['titles']:,} of {manifest['counts']['items']:,} items have a title; the events have {times}")


def _targets(split: dict[str, Any], part: str) -> str:
    users, targets = split[f"{part}_users"], split[f"{part}_targets"]
    return f"{users:,} {part} users" if users == targets else f"{targets:,} {part} targets of {users:,} users"


def _check_titles(titles: Series, item_ids: Series, source: Source, options: argparse.Namespace) -> None:
    """Say so where most items have no title; refuse files of titles that name none of the items."""
    titled_items = len(titles) - titles.null_count()
    if not source.has_items_files or 2 * titled_items >= len(titles):
        return
    if not titled_items:
        raise InputError(
            f"--items-source: not one of its titles is of an item of the events, such as {excerpt(repr(item_ids[0]))}; "
            f"check --item-column {options.item_column}, --title-column {options.title_column} and how ids are "
            "spelled, or set --items-source none"
        )
    log.warning("warning: only %s of %s items have a title; check --items-source", titled_items, len(titles))


def _encoding(text: str) -> str:
    try:
        if text != "auto":
            "".encode(text)  # codecs.lookup also knows some that are not of texts, such as base64
    except (LookupError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text or repr(text)}: not an encoding that Python knows; try utf-8 or latin-1"
        ) from None
    return text


def _rating(text: str) -> float | None:
    if text == "none":
        return None
    try:
        return number(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(f"{text or repr(text)}: neither a number nor none") from None


def main() -> None:
    """Run the stage."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

"""Prepare a data set for training and evaluation: fetch, filter, order, split, write the dataset folder."""

import functools
import logging
from dataclasses import fields, replace
from typing import Any

from polars import Series

from ssm4rec.artifacts.manifest import display_name
from ssm4rec.artifacts.names import GLOBAL_TIME, MANIFEST
from ssm4rec.data.bad_rows import count_words
from ssm4rec.data.data_sets import read_addresses, read_data_set
from ssm4rec.data.dataset_writer import collect_titles, write_dataset
from ssm4rec.data.engine import read_by
from ssm4rec.data.event_order import order_facts
from ssm4rec.data.filtering import Filters
from ssm4rec.data.generated import GENERATED_SETS, irreducible_loss
from ssm4rec.data.locations import local_path
from ssm4rec.data.sequences import Sequences
from ssm4rec.data.source import Source
from ssm4rec.data.splitting import Split, global_time, leave_one_out, tested_places
from ssm4rec.data.streams import excerpt
from ssm4rec.data.time_units import ORDER, in_milliseconds
from ssm4rec.data.versions import check_unchanged, file_state, find_versions
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import whole_folder
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.data import PreparedData
from ssm4rec.stages.prepare_data.nodes import prepare_on_nodes
from ssm4rec.stages.prepare_data.settings import NO_RATINGS, NO_TIMES, Settings
from ssm4rec.tracking import tracked_task

_ELSEWHERE = {"dataset", "name", "source", "items_source", "any_checksum", "cache_dir"}
"""Settings that say where the data are; all others shape them, and the manifest records those."""

log = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Prepare the data set, track what was done, print the counts."""
    options.check()
    options.check_engine()
    if options.nodes > 1:
        prepare_on_nodes(options)
        return
    options = replace(options, name=options.called())
    name = display_name({"dataset": options.name, "split": {"name": options.splitting}})
    labels = {"stage": "prepare", "dataset": options.name, "splitting": options.splitting}
    with tracked_task(f"prepare {name}", labels) as tracker:
        manifest = _prepare(options)
        # No ``splitting`` of its own: KFP's MLflow plugin logs that input of the task, in quotes, which would differ.
        named = {"dataset": options.name, "kind": options.dataset}
        tracker.settings({**named, "preparation": manifest["settings"]})
        tracker.metrics({name: float(count) for name, count in manifest["counts"].items()})
        tracker.dataset(manifest, "preparation")
        tracker.artifact(options.dataset_dir / MANIFEST)
    _print_counts(manifest)


def _prepare(options: Settings) -> dict[str, Any]:
    """Write the dataset folder, whole or not at all, and return its manifest."""
    # The output folder comes first: one that cannot be written is reported before the download, not after it.
    with whole_folder(options.dataset_dir, "prepare_data") as folder:
        asked = options.source_options()
        addresses, state = read_addresses(asked), functools.partial(file_state, cache_dir=asked.cache_dir)
        # Two questions: is it what the run found when it started, and does it stay as it is while it is read?
        check_unchanged(options.data_version, addresses, state)
        here = [address for address in addresses if local_path(address) is not None]
        before, _ = find_versions(here, state)
        source = read_data_set(asked)
        has_ratings = bool(source.events.columns.rating)
        if options.minimum_rating is not None and not has_ratings:
            raise InputError(NO_RATINGS)
        with read_by(options.engine, options.workers, source.events) as events:
            unit = events.time_unit
            if options.splitting == GLOBAL_TIME and unit == ORDER:
                raise InputError(NO_TIMES)
            asked_filters = Filters(**{one.name: getattr(options, one.name) for one in fields(Filters)})
            sequences, filters = events.sequences(options.event_order, asked_filters)
        titles = collect_titles(sequences.item_ids, source.titles)
        check_unchanged(before, here, state)
        check_unchanged(options.data_version, addresses, state)
        _check_titles(titles["title"], sequences.item_ids, source, options)
        settings = {one.name: getattr(options, one.name) for one in fields(PreparedData) if one.name not in _ELSEWHERE}
        sorted_by = sequences.times  # finer than what is kept: events of one millisecond need not tie
        sequences = replace(sequences, times=in_milliseconds(sorted_by, unit))
        if options.splitting == GLOBAL_TIME:
            shares = options.validation_fraction, options.test_fraction
            split = global_time(sequences.times, sequences.offsets, *shares, options.time_target)
        else:
            split = leave_one_out(sequences.offsets)
        _check_test_users(split, options)
        known = _known_loss(options.dataset, filters, sequences, split)
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
                "has_ratings": has_ratings,
                "time_kind": ORDER if unit == ORDER else "ms",
                "event_order": order_facts(
                    options.event_order,
                    sorted_by,
                    unit,
                    sequences.users,
                    sequences.items,
                    tested_places(sequences.offsets, split),
                ),
                "split": {"name": options.splitting},
                **known,
            },
        )


def _check_test_users(split: Split, options: Settings) -> None:
    """Refuse data whose models could not be compared, before anybody trains them."""
    tested = int((split.test_position >= 0).sum())
    if tested < options.least_test_users:
        raise InputError(
            f"data set {options.name}: {tested} of its {len(split.test_position)} users have a test target "
            f"(--splitting {options.splitting}), and at least {options.least_test_users} are needed to compare models; "
            "take more events, or let the filters leave more (--k-core, --draw-users)"
        )


def _known_loss(dataset: str, filters: list[dict[str, Any]], sequences: Sequences, split: Split) -> dict[str, float]:
    """Return the least loss that is possible on the test targets, where it is known.

    It is for generated sequences that are whole: only a draw of users takes no events out of them.
    """
    taking = [step for step in filters if step["filter"] != "draw-users"]
    if dataset not in GENERATED_SETS or any(
        step["before"]["interactions"] != step["after"]["interactions"] for step in taking
    ):
        return {}
    places = tested_places(sequences.offsets, split)
    whole = sequences.item_ids, sequences.items, sequences.offsets
    return {"irreducible_loss": irreducible_loss(dataset, *whole, places)}


def _print_counts(manifest: dict[str, Any]) -> None:
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


def _check_titles(titles: Series, item_ids: Series, source: Source, options: Settings) -> None:
    """Say so where most items have no title; refuse files of titles that name none of the items."""
    titled_items = titles.count()
    if not source.has_items_files or 2 * titled_items >= len(titles):
        return
    if not titled_items:
        raise InputError(
            f"--items-source: not one of its titles is of an item of the events, such as {excerpt(repr(item_ids[0]))}; "
            f"check --item-column {options.item_column}, --title-column {options.title_column} and how ids are "
            "spelled, or set --items-source none"
        )
    log.warning("warning: only %s of %s items have a title; check --items-source", titled_items, len(titles))


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

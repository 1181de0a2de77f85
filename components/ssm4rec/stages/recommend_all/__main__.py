"""Write every user's recommendations: ``python -m ssm4rec.stages.recommend_all --help``."""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy
import pyarrow
import pyarrow.compute

from ssm4rec.artifacts.dataset import Int64s, check_trained_on, read_sequences
from ssm4rec.artifacts.items import Items, read_items, read_source_ids
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.names import MASKED, MODEL_WEIGHTS, UNMASKED
from ssm4rec.artifacts.recommendations import (
    RECOMMENDATIONS_MANIFEST,
    RecommendationsManifest,
    RecommendationsOrigin,
)
from ssm4rec.artifacts.training import read_config
from ssm4rec.data.added_items import with_added
from ssm4rec.data.id_list import check_spaces, read_id_list
from ssm4rec.registry.all_users import Wanted, digest_of_ids, publish, write_shards
from ssm4rec.registry.recommending import recommender_folder
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import digest_of, held_by_this_process
from ssm4rec.settings.command_line import boolean, run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.recommend_all.nodes import recommend_on_nodes
from ssm4rec.stages.recommend_all.settings import Settings
from ssm4rec.tracking import RECIPE, tracked_task
from ssm4rec.training.device import choose_worker_device
from ssm4rec.training.model_folder import StoredModel, read_model_for

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Work:
    """What is to be written, by which model, and what decides every byte of it."""

    wanted: Wanted
    stored: StoredModel
    origin: RecommendationsOrigin


def run(options: Settings) -> None:
    """Write the recommendations, here or on nodes of a cluster, and show how many there are."""
    options.check()
    if options.nodes > 1:
        recommend_on_nodes(options)
        written = RecommendationsManifest.read(options.recommendations_dir / RECOMMENDATIONS_MANIFEST)
    else:
        options.check_here()
        written = _recommend(options)
    write_executor_output(options.executor_input, {"shown": {**_counted(written)}})


def _recommend(options: Settings) -> RecommendationsManifest:
    """Write the shards and, when all are there, the folder of them."""
    work = _work(options)
    config, origin, wanted = work.stored.config, work.origin, work.wanted
    manifest = read_manifest(options.dataset_dir)
    shards = Path(options.checkpoint_dir or f"{options.recommendations_dir}.checkpoints") / origin.folder_name
    labels = {name: str(config[name]) for name in ("model", "seed", "profile")} | data_labels(manifest)
    named = run_name(config["model"], manifest, config["seed"], "recommend", config.get("label", ""))
    with tracked_task(named, {"stage": "recommend_all", **labels}) as tracker:
        protocol = f"best {origin.k} per user, history {MASKED if origin.masked else UNMASKED}"
        tracker.settings({**labels, "protocol": protocol, RECIPE: config["recipe"]})
        tracker.dataset(manifest, "all events")
        started = time.monotonic()
        refusal = "another process writes these shards; wait for it, or choose another --checkpoint-dir"
        with held_by_this_process(shards, refusal):
            device = choose_worker_device(options.device, options.workers).type  # alike in every process
            write_shards(shards, wanted, origin.users_per_shard, work.stored.model, device, options.workers)
            written = publish(shards, options.recommendations_dir, origin, wanted)
            shutil.rmtree(shards)
            if not options.checkpoint_dir:
                _remove_empty(shards.parent)
        tracker.metrics({**_counted(written), "seconds": time.monotonic() - started})
    logger.info(
        "%s seed %d, history %s: %s recommendations for %s users, %s of whom got the most popular items and %s fewer "
        "than %d; written to %s",
        origin.model, origin.seed, MASKED if origin.masked else UNMASKED, f"{written.recommendations:,}",
        f"{written.users:,}", f"{written.users_by_popularity:,}", f"{written.users_with_fewer:,}", origin.k,
        options.recommendations_dir,
    )  # fmt: skip
    return written


def _counted(written: RecommendationsManifest) -> dict[str, float]:
    names = ("users", "users_by_popularity", "users_with_fewer", "recommendations")
    return {name: getattr(written, name) for name in names}


def _remove_empty(folder: Path) -> None:
    """Remove the folder next to the output in which the folder of shards was, or say that it holds others."""
    try:
        folder.rmdir()
    except OSError:
        logger.info("%s: has shards of other recommendations; delete those that no command will resume", folder)


def _work(options: Settings) -> _Work:
    """Read and check everything; raise InputError if it does not fit together."""
    dataset, ids = read_sequences(options.dataset_dir), read_source_ids(options.dataset_dir)
    folder = recommender_folder(options.model_dir)
    if not options.other_data:
        way_out = "recommend from the data trained on, or say --other-data true"
        check_trained_on(options.model_dir, read_config(folder), dataset, way_out)
    stored, catalog = read_model_for(_catalog(options, folder), folder)
    items = pyarrow.array(catalog.ids, pyarrow.large_string())
    if options.k > len(items):
        raise InputError(f"--k {options.k}: the catalog has {len(items)} items; give at most that")
    allowed = _allowed(options.allowed_items, items)
    users, rows = _users(options.users, ids.users)
    masked = stored.model.repeat_term is None if options.masked == "auto" else boolean(options.masked)
    origin = RecommendationsOrigin(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        model=stored.config["model"],
        seed=stored.config["seed"],
        weights=digest_of(folder / MODEL_WEIGHTS),
        users=digest_of_ids(users),
        items=digest_of_ids(items),
        words=stored.config.get("words", ""),
        allowed="" if allowed is None else digest_of_ids(items.take(pyarrow.array(allowed - 1))),
        k=options.k,
        masked=masked,
        users_per_shard=options.users_per_shard,
    )
    return _Work(Wanted(dataset, users, rows, items, allowed, options.k, masked), stored, origin)


def _catalog(options: Settings, model: Path) -> Items:
    """Return the items that are ranked: those of the data, then those that a champion has besides, then the flag's."""
    config, data = read_config(model), read_items(options.dataset_dir)
    catalog = data
    if added := config.get("added_items", 0):
        catalog = data.joined(read_items(model).last(added))
    carried = len(catalog.ids) - len(data.ids)
    if options.added_items:
        if "words" not in config:
            raise InputError(
                f"--added-items {options.added_items}: {options.model_dir} knows items by their ids alone; leave the "
                "flag out, or train the model with --overrides model.item_vectors=id+text"
            )
        catalog = with_added(catalog, options.added_items)
    if carried or options.added_items:
        logger.info(
            "%s items: %s of %s, %s added to the champion, %s of --added-items",
            f"{len(catalog.ids):,}", f"{len(data.ids):,}", options.dataset_dir, f"{carried:,}",
            f"{len(catalog.ids) - len(data.ids) - carried:,}",
        )  # fmt: skip
    return catalog


def _allowed(address: str, items: pyarrow.Array) -> Int64s | None:
    """Return the items of a file that may be recommended, ascending, None without one."""
    if not address:
        return None
    listed = read_id_list(address, "item_id", "--allowed-items")
    check_spaces(listed, items, f"--allowed-items {address}")
    places = _places(listed, items)
    known: Int64s = numpy.sort(places[places >= 0]) + 1
    if not len(known):
        raise InputError(
            f"--allowed-items {address}: none of its {len(places)} ids, such as {listed[0].as_py()!r}, is an item of "
            f"the catalog, such as {items[0].as_py()!r}; write ids as the source of the data does"
        )
    logger.info("%s of the catalog's %s items may be recommended", f"{len(known):,}", f"{len(items):,}")
    if unknown := len(places) - len(known):
        logger.warning("--allowed-items %s: %s ids are not in the catalog and are left out", address, f"{unknown:,}")
    return known


def _users(address: str, known: pyarrow.Array) -> tuple[pyarrow.Array, Int64s]:
    """Return the users of a file, or all of the data, and the place of each among those of the data, -1: none."""
    if not address:
        return known, numpy.arange(len(known))
    users = read_id_list(address, "user_id", "--users")
    check_spaces(users, known, f"--users {address}")
    rows = _places(users, known)
    if unknown := int((rows < 0).sum()):
        logger.warning(
            "--users %s: %s of %s are not in the data and get the most popular items",
            address, f"{unknown:,}", f"{len(users):,}",
        )  # fmt: skip
    if unknown == len(users):  # as of new users alone; or of ids in another form
        logger.warning(
            "--users %s: its ids are such as %r, those of the data such as %r; if they are not new users, write ids as "
            "the source of the data does",
            address, users[0].as_py(), known[0].as_py(),
        )  # fmt: skip
    return users, rows


def _places(ids: pyarrow.Array, among: pyarrow.Array) -> Int64s:
    """Return the place of each id among others, -1 where it is none of them."""
    found = pyarrow.compute.index_in(ids, value_set=among)
    places: Int64s = found.fill_null(-1).to_numpy().astype(numpy.int64)
    return places


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

"""Make the best model an MLflow model and register it: ``python -m ssm4rec.stages.register_champion --help``."""

import functools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.interactions import read_times
from ssm4rec.artifacts.items import Items, read_items
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import OUTCOME
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.data.added_items import with_added
from ssm4rec.evaluation.baselines import popularity_lately
from ssm4rec.registry.champion import ALIAS, Contender, best, description, read_contender, takes_over
from ssm4rec.registry.index_recall import measured_index
from ssm4rec.registry.item_index import MeasuredIndex
from ssm4rec.registry.mlflow_model import write_mlflow_model
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.register_champion.settings import Settings
from ssm4rec.tracking import RECIPE, Registration, tracked_task
from ssm4rec.training.model_folder import read_model_for

logger = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Choose, write and register."""
    options.check_here()
    manifest = read_manifest(options.dataset_dir)
    contenders = _contenders(options.models, manifest, options.dataset_dir)
    champion = best(contenders)
    logger.info("best of %d by validation: %s, ndcg@10 %.4f", len(contenders), champion.label, champion.validation)
    tags = champion.tags(manifest["split"]["name"])
    items = read_items(options.dataset_dir)
    popularity = _popularity(options.dataset_dir, items.ids)
    if options.added_items:
        if "words" not in champion.config:
            raise InputError(
                f"--added-items {options.added_items}: the champion, {champion.folder}, knows items by their ids "
                "alone; leave the flag out, or train models with --overrides model.item_vectors=id+text"
            )
        data, items = items, with_added(items, options.added_items)
        logger.info("%s items added to those of %s", f"{len(items.ids) - len(data.ids):,}", options.dataset_dir)
    index = _item_index(options, champion.folder, items)
    write_mlflow_model(options.champion_dir, champion.folder, items, tags, popularity, index)
    dataset = manifest["dataset"]
    with tracked_task(f"register {dataset}", {"stage": "register_champion", "dataset": dataset}) as tracker:
        tracker.settings({**tags, RECIPE: champion.config["recipe"]})
        tracker.dataset(manifest, "validation")
        tracker.metrics({f"validation/{one.label}/ndcg@10": one.validation for one in contenders})
        succeeds = functools.partial(takes_over, tags, replace=options.replace_champion)
        said = description(contenders, manifest["split"]["name"])
        registration = Registration(f"ssm4rec-{dataset}", options.champion_dir, said, tags, ALIAS, succeeds)
        tracker.register(registration)
    outcome = f"{champion.label}, the best of {len(contenders)} by validation: {registration.outcome}"
    logger.info("%s", outcome)
    facts = RegistrationFacts(
        champion.config["model"],
        champion.config["seed"],
        dataset,
        manifest["fingerprint"],
        registration.name,
        registration.version,
        registration.taken,
        registration.outcome,
    )
    facts.write(options.registration)
    write_executor_output(options.executor_input, {"champion": {**tags, OUTCOME: outcome}})


def _popularity(folder: Path, item_ids: Sequence[str]) -> dict[str, float]:
    """Return how often items were had in the last days of all events, by item id: also of those held out.

    Whoever is served comes after them.
    """
    dataset = read_sequences(folder)
    scores = popularity_lately(dataset, read_times(folder, dataset), training_alone=False)
    return dict(zip(item_ids, scores.tolist(), strict=True))


def _item_index(options: Settings, model_folder: Path, items: Items) -> MeasuredIndex | None:
    if not options.item_index:
        return None
    stored, _ = read_model_for(items, model_folder)
    return measured_index(stored.model.eval(), read_sequences(options.dataset_dir))


def _contenders(folders: Sequence[Path], manifest: dict[str, Any], dataset_folder: Path) -> list[Contender]:
    if not folders:
        raise InputError("--models: none; name the model folders of train_recommender")
    contenders = [read_contender(folder) for folder in folders]
    for one in contenders:
        if one.config["fingerprint"] != manifest["fingerprint"]:
            raise InputError(
                f"{one.folder}: trained on {one.config['dataset']} ({one.config['fingerprint'][:12]}), but "
                f"{dataset_folder} holds {manifest['dataset']} ({manifest['fingerprint'][:12]}); models compete on "
                "one data set"
            )
    return contenders


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

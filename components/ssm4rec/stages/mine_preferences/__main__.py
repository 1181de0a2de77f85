"""Make preference pairs of a dataset folder: ``python -m ssm4rec.stages.mine_preferences --help``."""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy

from ssm4rec.artifacts.dataset import SequenceDataset, check_trained_on, read_sequences
from ssm4rec.artifacts.interactions import read_ratings
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import CANDIDATES_PER_USER
from ssm4rec.artifacts.preferences import LIGHTFM, RATINGS, RETRIEVER, Pairs, write_pairs
from ssm4rec.llm.lightfm_worst import score, train_lightfm, training_auc, training_matrix, worst_unseen_items
from ssm4rec.llm.preferences import lightfm_pairs, rating_pairs, retriever_pairs
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import write_json
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.mine_preferences.settings import Settings
from ssm4rec.tracking import tracked_task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mined:
    """Pairs, what became of the users by the pairs' origins, and how they were made."""

    pairs: Pairs
    counts: dict[str, dict[str, Any]]
    settings: dict[str, Any]


def run(options: Settings) -> None:
    """Make the pairs and write them and their counts."""
    if options.retriever_dir and not options.retriever_dir.is_dir():
        unused = "" if options.pairs_by == "retriever" else ", or leave it out: --pairs-by paper takes no candidates"
        raise InputError(
            f"--retriever-dir {options.retriever_dir}: no such folder; give one of train_recommender{unused}"
        )
    dataset = read_sequences(options.dataset_dir)
    labels = {"dataset": dataset.name, "seed": str(options.seed)}
    name = f"mine preferences {dataset.name} seed {options.seed}"
    with tracked_task(name, {"stage": "mine-preferences", **labels, "pairs_by": options.pairs_by}) as tracker:
        tracker.dataset(read_manifest(options.dataset_dir), "preferences")
        mined = (_by_retriever if options.pairs_by == "retriever" else _by_paper)(options, dataset)
        counts: dict[str, Any] = {
            "dataset": dataset.name,
            "fingerprint": dataset.fingerprint,
            "seed": options.seed,
            "pairs_by": options.pairs_by,
            "users": dataset.user_count,
            "items": dataset.item_count,
            "pairs": len(mined.pairs),
            **mined.counts,
            "settings": mined.settings,
        }
        write_pairs(options.pairs, dataset, mined.pairs)
        write_json(options.counts, counts)
        # MLflow and the KFP UI show numbers only, in one level.
        levels = {f"{part}/{name}": value for part, found in mined.counts.items() for name, value in found.items()}
        numbers = {"pairs": counts["pairs"], **levels}
        shown = {name: float(value) for name, value in numbers.items() if value is not None}
        # Not by the input's name, which KFP logs in quotes.
        tracker.settings({**labels, "pairs": {"by": options.pairs_by}, **mined.settings})
        tracker.metrics(shown)
        tracker.text("counts.json", options.counts.read_text(encoding="utf-8"))
    write_executor_output(options.executor_input, {"counts": {**shown}})


def _by_paper(options: Settings, dataset: SequenceDataset) -> Mined:
    """Return the pairs by ratings, and those against LightFM's worst items."""
    ratings = read_ratings(options.dataset_dir, dataset)
    by_rating, rating_counts = rating_pairs(dataset, ratings)
    if numpy.isnan(ratings).all():
        logger.warning("by ratings: skipped, %s has no ratings", dataset.name)
    else:
        logger.info("by ratings: %s", _join_counts(rating_counts))

    matrix = training_matrix(dataset)
    model = train_lightfm(matrix, options.components, options.epochs, options.seed)
    by_lightfm, lightfm_counts = lightfm_pairs(dataset, worst_unseen_items(model, dataset), partial(score, model))
    auc = training_auc(model, matrix, options.seed)
    logger.info("by LightFM: %s", _join_counts(lightfm_counts))
    if auc is not None:
        logger.info("LightFM puts a training item over another one in %.1f%% of cases (random: 50%%)", 100 * auc)
    trained = {"training_auc": auc, "training_interactions": matrix.nnz}
    settings = {"loss": "warp", "components": options.components, "epochs": options.epochs}
    counts = {RATINGS: rating_counts, LIGHTFM: lightfm_counts | trained}
    return Mined(by_rating + by_lightfm, counts, {"lightfm": settings})


def _by_retriever(options: Settings, dataset: SequenceDataset) -> Mined:
    """Return the pairs against the retriever's hard negatives; raise InputError if there is none that can give any."""
    folder = options.retriever_dir
    if folder is None:
        raise InputError("--pairs-by retriever: whose candidates? give --retriever-dir, of train_recommender")
    # The paper's pairs are made without torch, which loads for seconds.
    from ssm4rec.evaluation.full_ranking import full_ranking
    from ssm4rec.training.device import choose_device
    from ssm4rec.training.model_folder import read_model

    stored, device = read_model(folder), choose_device("cpu")
    config, model = stored.config, stored.model
    check_trained_on(folder, config, dataset, "give a retriever of these data")
    if config["recipe"]["training"].get("refit"):
        raise InputError(
            f"{folder}: was trained on the validation items (training.refit), and preference pairs are of training "
            "items alone; give a retriever that was trained without"
        )
    known = dataset.training_alone()
    if not known.validation_targets.any():
        raise InputError(f"data set {dataset.name}: no user has two training items, so there is no preference pair")
    best = full_ranking(model.score_next, known, "validation", model.max_length, device, CANDIDATES_PER_USER + 1)
    pairs, counts = retriever_pairs(dataset, best, options.seed)
    logger.info("by the retriever: %s", _join_counts(counts))
    return Mined(pairs, {RETRIEVER: counts}, {"retriever": {"model": config["model"], "seed": config["seed"]}})


def _join_counts(counts: dict[str, int]) -> str:
    """Return counts as text.

    >>> _join_counts({"pairs": 1200, "users_too_short": 3})
    'pairs 1,200, users too short 3'
    """
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

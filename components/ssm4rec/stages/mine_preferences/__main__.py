"""Make preference pairs of a dataset folder: ``python -m ssm4rec.stages.mine_preferences --help``."""

import logging
from functools import partial
from typing import Any

import numpy

from ssm4rec.artifacts.dataset import read_ratings, read_sequences
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.preferences import write_pairs
from ssm4rec.llm.lightfm_worst import score, train_lightfm, training_auc, training_matrix, worst_unseen_items
from ssm4rec.llm.preferences import lightfm_pairs, rating_pairs
from ssm4rec.runtime.files import write_json
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.mine_preferences.settings import Settings
from ssm4rec.tracking import tracked_task

logger = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Make the pairs of both parts and write them and their counts."""
    dataset = read_sequences(options.dataset_dir)
    labels = {"dataset": dataset.name, "seed": str(options.seed)}
    name = f"mine preferences {dataset.name} seed {options.seed}"
    with tracked_task(name, {"stage": "mine-preferences", **labels}) as tracker:
        tracker.dataset(read_manifest(options.dataset_dir), "preferences")
        ratings = read_ratings(options.dataset_dir, dataset)
        has_ratings = not numpy.isnan(ratings).all()
        by_rating, rating_counts = rating_pairs(dataset, ratings)
        if has_ratings:
            logger.info("by ratings: %s", _join_counts(rating_counts))
        else:
            logger.warning("by ratings: skipped, %s has no ratings", dataset.name)

        matrix = training_matrix(dataset)
        model = train_lightfm(matrix, options.components, options.epochs, options.seed)
        by_lightfm, lightfm_counts = lightfm_pairs(dataset, worst_unseen_items(model, dataset), partial(score, model))
        auc = training_auc(model, matrix, options.seed)
        logger.info("by LightFM: %s", _join_counts(lightfm_counts))
        if auc is not None:
            logger.info("LightFM puts a training item over another one in %.1f%% of cases (random: 50%%)", 100 * auc)

        trained = {"training_auc": auc, "training_interactions": matrix.nnz}
        settings = {"loss": "warp", "components": options.components, "epochs": options.epochs}
        counts: dict[str, Any] = {
            "dataset": dataset.name,
            "fingerprint": dataset.fingerprint,
            "seed": options.seed,
            "users": dataset.user_count,
            "items": dataset.item_count,
            "has_ratings": has_ratings,
            "pairs": len(by_rating) + len(by_lightfm),
            "ratings": rating_counts,
            "lightfm": {**lightfm_counts, **trained, "settings": settings},
        }
        write_pairs(options.pairs, dataset, by_rating + by_lightfm)
        write_json(options.counts, counts)
        # MLflow and the KFP UI show numbers only, in one level.
        parts: dict[str, dict[str, Any]] = {"ratings": rating_counts, "lightfm": lightfm_counts | trained}
        levels = {f"{part}/{name}": value for part, found in parts.items() for name, value in found.items()}
        numbers = {"pairs": counts["pairs"], "has_ratings": has_ratings, **levels}
        shown = {name: float(value) for name, value in numbers.items() if value is not None}
        tracker.settings({**labels, "lightfm": settings})
        tracker.metrics(shown)
        tracker.text("counts.json", options.counts.read_text(encoding="utf-8"))
    write_executor_output(options.executor_input, {"counts": {**shown}})


def _join_counts(counts: dict[str, int]) -> str:
    """Return counts as text.

    >>> _join_counts({"pairs": 1200, "users_too_short": 3})
    'pairs 1,200, users too short 3'
    """
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

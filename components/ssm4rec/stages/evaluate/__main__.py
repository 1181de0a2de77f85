"""Evaluate one trained recommender by full ranking: ``python -m ssm4rec.stages.evaluate --help``."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import Any

from ssm4rec.artifacts.candidates import write_candidates
from ssm4rec.artifacts.dataset import SequenceDataset, check_trained_on, read_sequences
from ssm4rec.artifacts.evaluations import EvaluationSummary, ResultRow
from ssm4rec.artifacts.interactions import read_times
from ssm4rec.artifacts.items import read_items, read_source_ids
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.names import GLOBAL_TIME, MASKED, PROTOCOLS, TIME_BASELINES, UNMASKED
from ssm4rec.artifacts.ranks import FullRanking, Origin, write_ranks
from ssm4rec.artifacts.training import read_config
from ssm4rec.evaluation.cold_items import warm_and_cold
from ssm4rec.evaluation.likelihood import mean_loss
from ssm4rec.evaluation.metrics import all_metrics
from ssm4rec.evaluation.sharding import evaluated
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.evaluate.settings import Settings
from ssm4rec.tracking import RECIPE, tracked_task
from ssm4rec.training.device import choose_device
from ssm4rec.training.model_folder import StoredModel, read_model_for

logger = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Evaluate and write ranks, candidates and metrics."""
    options.check_here()
    dataset = read_sequences(options.dataset_dir)
    if not options.other_data:
        way_out = "evaluate on the data trained on, or say --other-data true"
        check_trained_on(options.model_dir, read_config(options.model_dir), dataset, way_out)
    stored, _ = read_model_for(read_items(options.dataset_dir), options.model_dir)
    config = stored.config
    if options.split == "validation" and config["recipe"]["training"].get("refit"):
        raise InputError(
            f"--split validation: {options.model_dir} was trained on the validation items (training.refit); "
            "evaluate it on the test split, or train it without"
        )
    labels = {name: str(config[name]) for name in ("model", "seed", "profile")}
    manifest = read_manifest(options.dataset_dir)
    labels |= data_labels(manifest)
    stage = "" if options.split == "test" else options.split
    name = run_name(config["model"], manifest, config["seed"], stage, config.get("label", ""))
    with tracked_task(name, {"stage": "evaluate", "split": options.split, **labels}) as tracker:
        named = {"label": config["label"]} if config.get("label") else {}
        protocol = f"all items ranked, history {' and '.join(PROTOCOLS)}"
        tracker.settings({**labels, **named, "protocol": protocol, RECIPE: config["recipe"]})
        tracker.dataset(manifest, options.split)
        summary = _evaluate(options, dataset, stored, by_time=manifest["split"]["name"] == GLOBAL_TIME)
        # MLflow's compare page draws the metric that it was told first.
        own_first = sorted(summary.rows, key=lambda row: (row.model != config["model"], row.metric != "ndcg@10"))
        tracker.metrics({**{_shown_name(row): row.value for row in own_first}, **_part_metrics(summary)})
        if summary.nll:
            tracker.metrics({f"{UNMASKED}/nll": summary.nll.value})
            logger.info("%s on %s: %s nats per target", config["model"], options.split, summary.nll.text())
        tracker.text("metrics.json", options.metrics.read_text(encoding="utf-8"))
    shown = {_shown_name(row): row.value for row in summary.rows if row.metric.endswith("@10")}
    write_executor_output(options.executor_input, {"shown": {**shown}})
    for (name, protocol), rows in groupby(summary.rows, attrgetter("model", "protocol")):
        values = ", ".join(f"{row.metric} {row.value:.4f}" for row in rows if row.metric.endswith("@10"))
        logger.info("%s on %s, history %s: %s", name, options.split, protocol, values)
    _say_parts(summary)


def _evaluate(options: Settings, dataset: SequenceDataset, stored: StoredModel, *, by_time: bool) -> EvaluationSummary:
    """Rank, write the three files and return the summary."""
    choose = partial(choose_device, choose_device(options.device).type)  # alike in every process
    ids = read_source_ids(options.dataset_dir)
    times = read_times(options.dataset_dir, dataset) if by_time else None
    found = evaluated(stored.model, dataset, options.split, choose, times, options.workers)
    ranking, baselines = found.ranking, found.baselines
    parts = warm_and_cold(dataset, {stored.config["model"]: ranking, **baselines})
    summary = _summary(dataset, stored.config, options.split, ranking, baselines)
    nll = mean_loss(found.losses, ranking.users)
    summary = replace(summary, parts=parts, nll=nll, shards=found.shards)
    origin = Origin(dataset, summary.model, summary.seed, summary.split, ids, summary.shards)
    write_ranks(options.ranks, origin, ranking, baselines)
    write_candidates(options.candidates, origin, ranking, baselines)
    summary.write(options.metrics)
    return summary


def _shown_name(row: ResultRow) -> str:
    """Name a number for the KFP UI and MLflow, where model and seed are known from the task: its own come first."""
    owner = f"versus/{row.model}/" if row.model in TIME_BASELINES else ""
    return f"{owner}{row.protocol}/{row.metric}"


def _part_metrics(summary: EvaluationSummary) -> dict[str, float]:
    """Return what the model's metrics are on warm and on cold targets, by name."""
    own = [(part.part, row) for part in summary.parts for row in part.rows if row.model == summary.model]
    return {f"{part}/{row.protocol}/{row.metric}": row.value for part, row in own}


def _say_parts(summary: EvaluationSummary) -> None:
    """Log how targets with and without training events are ranked, with standard errors."""
    for part in summary.parts:
        for protocol in PROTOCOLS:
            at_ten = [row for row in part.rows if (row.protocol, row.metric) == (protocol, "hit@10")]
            values = ", ".join(f"{row.model} {row.value:.4f} ± {row.standard_error:.4f}" for row in at_ten)
            logger.info("%d %s targets, history %s: hit@10 %s", part.targets, part.part, protocol, values)


def _summary(
    dataset: SequenceDataset,
    config: dict[str, Any],
    split: str,
    ranking: FullRanking,
    baselines: Mapping[str, FullRanking],
) -> EvaluationSummary:
    evaluations = [(config["model"], config["seed"], ranking), *((name, None, one) for name, one in baselines.items())]
    rows = tuple(
        ResultRow(dataset.name, model, seed, split, protocol, metric, value)
        for model, seed, evaluated in evaluations
        for protocol, ranks in ((UNMASKED, evaluated.unmasked), (MASKED, evaluated.masked))
        for metric, value in all_metrics(ranks).items()
    )
    copied = ("model", "seed", "profile", "parameters", "parameters_without_embeddings", "training", "recipe")
    return EvaluationSummary(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        split=split,
        users=int(ranking.first.sum()),
        targets=len(ranking.targets),
        items=dataset.item_count,
        rows=rows,
        initial_model=config.get("initial_model", ""),
        **{name: config[name] for name in copied},
    )


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

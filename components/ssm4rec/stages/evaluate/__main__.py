"""Evaluate one trained recommender by full ranking: ``python -m ssm4rec.stages.evaluate --help``."""

import logging

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences, read_times
from ssm4rec.artifacts.evaluations import EvaluationSummary, ResultRow
from ssm4rec.artifacts.manifest import display_name, read_manifest
from ssm4rec.artifacts.names import CANDIDATES_PER_USER, GLOBAL_TIME, MASKED, PROTOCOLS, TIME_BASELINES, UNMASKED
from ssm4rec.artifacts.ranks import FullRanking, Origin, write_candidates, write_ranks
from ssm4rec.evaluation.baselines import baseline_rankings
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.evaluation.metrics import all_metrics
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.evaluate.settings import Settings
from ssm4rec.tracking import tracked_task
from ssm4rec.training.device import choose_device
from ssm4rec.training.model_folder import StoredModel, read_model

logger = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Evaluate and write ranks, candidates and metrics."""
    dataset = read_sequences(options.dataset_dir)
    stored = read_model(options.model_dir)
    if stored.config["fingerprint"] != dataset.fingerprint:
        raise InputError(
            f"{options.model_dir}: trained on {stored.config['dataset']} ({stored.config['fingerprint'][:12]}), but "
            f"{options.dataset_dir} holds {dataset.name} ({dataset.fingerprint[:12]}); evaluate on the data trained on"
        )
    config = stored.config
    if options.split == "validation" and config["recipe"]["training"].get("refit"):
        raise InputError(
            f"--split validation: {options.model_dir} was trained on the validation items (training.refit); "
            "evaluate it on the test split, or train it without"
        )
    labels = {name: str(config[name]) for name in ("model", "dataset", "seed", "profile")}
    manifest = read_manifest(options.dataset_dir)
    name = f"evaluate {config['model']} {display_name(manifest)} seed {config['seed']}"
    labels["splitting"] = manifest["split"]["name"]
    with tracked_task(name, {"stage": "evaluate", "split": options.split, **labels}) as tracker:
        tracker.settings({**labels, "recipe": config["recipe"]})
        tracker.dataset(manifest, options.split)
        summary = _evaluate(options, dataset, stored)
        tracker.metrics({_shown_name(row): row.value for row in summary.rows})
        tracker.text("metrics.json", options.metrics.read_text(encoding="utf-8"))
    if options.executor_input:
        shown = {_shown_name(row): row.value for row in summary.rows if row.metric.endswith("@10")}
        write_executor_output(options.executor_input, {"shown": {**shown}})
    for name in dict.fromkeys(row.model for row in summary.rows):
        for protocol in PROTOCOLS:
            at_10 = [
                row for row in summary.rows if (row.model, row.protocol) == (name, protocol) and "@10" in row.metric
            ]
            values = ", ".join(f"{row.metric} {row.value:.4f}" for row in at_10)
            logger.info("%s on %s, history %s: %s", name, options.split, protocol, values)


def _evaluate(options: Settings, dataset: SequenceDataset, stored: StoredModel) -> EvaluationSummary:
    """Rank, write the three files and return the summary."""
    device = choose_device(options.device)
    model = stored.model.to(device)
    ranking = full_ranking(
        model.score_next,
        dataset,
        options.split,
        model.max_length,
        device,
        CANDIDATES_PER_USER,
        one_pass=model.causal,
    )
    by_time = read_manifest(options.dataset_dir)["split"]["name"] == GLOBAL_TIME
    times = read_times(options.dataset_dir, dataset) if by_time else None
    baselines = baseline_rankings(dataset, options.split, device, times)
    summary = _summary(dataset, stored, options.split, ranking, baselines)
    origin = Origin(dataset, summary.model, summary.seed, summary.split)
    write_ranks(options.ranks, origin, ranking, baselines)
    write_candidates(options.candidates, origin, ranking)
    summary.write(options.metrics)
    return summary


def _shown_name(row: ResultRow) -> str:
    """Name a number for the KFP UI and MLflow, where model and seed are known from the task."""
    owner = f"{row.model}/" if row.model in TIME_BASELINES else ""
    return f"{owner}{row.protocol}/{row.metric}"


def _summary(
    dataset: SequenceDataset,
    stored: StoredModel,
    split: str,
    ranking: FullRanking,
    baselines: dict[str, FullRanking],
) -> EvaluationSummary:
    config = stored.config
    evaluations = [(config["model"], config["seed"], ranking), *((name, None, one) for name, one in baselines.items())]
    rows = tuple(
        ResultRow(dataset.name, model, seed, split, protocol, metric, value)
        for model, seed, evaluated in evaluations
        for protocol, ranks in ((UNMASKED, evaluated.unmasked), (MASKED, evaluated.masked))
        for metric, value in all_metrics(ranks).items()
    )
    return EvaluationSummary(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        model=config["model"],
        seed=config["seed"],
        profile=config["profile"],
        split=split,
        users=int(ranking.first.sum()),
        targets=len(ranking.targets),
        items=dataset.item_count,
        parameters=config["parameters"],
        parameters_without_embeddings=config["parameters_without_embeddings"],
        training=config["training"],
        recipe=config["recipe"],
        rows=rows,
    )


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

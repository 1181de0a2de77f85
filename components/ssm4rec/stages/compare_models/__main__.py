"""Compare the evaluated models of a study, pair by pair: ``python -m ssm4rec.stages.compare_models --help``."""

import logging

from ssm4rec.artifacts.candidates import read_candidates
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.manifest import display_name, read_manifest
from ssm4rec.artifacts.ranks import read_ranks
from ssm4rec.evaluation.compare import compare, gather
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.compare_models.settings import Settings
from ssm4rec.tracking import tracked_task

logger = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Read everything, compare, then write."""
    manifest = read_manifest(options.dataset_dir)
    tags = {"stage": "compare_models", "dataset": manifest["dataset"], "splitting": manifest["split"]["name"]}
    dataset = read_sequences(options.dataset_dir)
    evaluations = gather(
        (read_ranks(path, dataset) for path in options.ranks),
        (read_candidates(path, dataset) for path in options.candidates),
    )
    with tracked_task(f"compare {display_name(manifest)}", tags) as tracker:
        tracker.settings({"resamples": options.resamples, "seed": options.seed})
        comparison = compare(dataset, evaluations, options.resamples, options.seed)
        comparison.write(options.comparison)
        for row in comparison.recommendations:
            owner = row.model if row.seed is None else f"{row.model}/seed{row.seed}"
            tracker.metrics({f"{owner}/{row.protocol}/{name}": value for name, value in row.numbers().items()})
        tracker.text("comparison.json", options.comparison.read_text(encoding="utf-8"))
    for note in comparison.notes:
        logger.warning("%s", note)
    pairs = {(one.first, one.second) for one in comparison.pairs}
    logger.info(
        "%s, %d resamples of users: differences of %d pairs on %s are in %s; what they mean is said by the report",
        display_name(manifest), options.resamples, len(pairs), comparison.split, options.comparison.name,
    )  # fmt: skip


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

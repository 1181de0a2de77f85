"""Align a ranker to preference pairs by ORPO: ``python -m ssm4rec.stages.align_llm --help``."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ssm4rec.artifacts.curve import HELD_OUT, Curve, Training, write_curve
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences, read_titles
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.preferences import Pairs, read_pairs
from ssm4rec.data.download import checksums
from ssm4rec.llm.adapters import Ranker, RankerFacts, load_ranker, write_adapter
from ssm4rec.llm.alignment import Alignment, align
from ssm4rec.llm.alignment_course import AlignmentRow, AlignmentTask
from ssm4rec.llm.preference_examples import preference_set
from ssm4rec.llm.prompts import RankingPrompts
from ssm4rec.llm.settings import AlignmentSettings
from ssm4rec.llm.sources import check_source_unchanged
from ssm4rec.recipes.rankers import ranker_recipe
from ssm4rec.runtime.files import cache_folder, held_by_this_process
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.align_llm.settings import Settings
from ssm4rec.tracking import Tracker, tracked_task
from ssm4rec.training.checkpoint import checkpoint_name
from ssm4rec.training.device import choose_device

logger = logging.getLogger(__name__)

STAGE = "align_llm"
TRACKED = ("loss", "nll", "odds_ratio_loss", "log_odds_ratio", "margin", "accuracy", "epoch")
"""What of a row is logged as a metric, with its split before it."""


def run(options: Settings) -> None:
    """Align and write the adapter and the history."""
    settings = ranker_recipe(options.profile, options.overrides).align
    dataset = read_sequences(options.dataset_dir)
    tuned = RankerFacts.read(options.adapter_dir, dataset)
    pairs = read_pairs(options.pairs, dataset)
    titles = read_titles(options.dataset_dir)
    device = choose_device(options.device)
    labels = {
        "dataset": dataset.name,
        "seed": str(options.seed),
        "retriever": tuned.retriever,
    }
    tags = {"stage": "align-llm", "profile": options.profile, "language_model": tuned.source, **labels}
    name = f"align {tuned.source} {dataset.name} seed {options.seed}"
    with tracked_task(name, tags) as tracker:
        described = {"profile": options.profile, "source": tuned.source, "align": asdict(settings)}
        tracker.settings({**labels, "recipe": described, "computed": {"device": device.type}})
        tracker.dataset(read_manifest(options.dataset_dir), "preferences")
        ranker = load_ranker(tuned, options.adapter_dir, cache_folder(options.cache_dir), device, trainable=True)
        check_source_unchanged(options.language_model_version, tuned.source)
        prompts = RankingPrompts(ranker.tokenizer, titles, settings.prompt)
        numbers = _align_and_write(options, dataset, pairs, prompts, tuned, ranker, settings, tracker)
        tracker.metrics(numbers)
        tracker.artifact(options.aligned_dir)
    if options.executor_input:
        write_executor_output(options.executor_input, {"aligned": {**numbers}})
    logger.info(
        "%s: accuracy on held-out pairs %.1f%%, %.1f%% before; written to %s",
        name, 100 * numbers["accuracy"], 100 * numbers["accuracy_before"], options.aligned_dir,
    )  # fmt: skip


def _align_and_write(
    options: Settings,
    dataset: SequenceDataset,
    pairs: Pairs,
    prompts: RankingPrompts,
    tuned: RankerFacts,
    ranker: Ranker,
    settings: AlignmentSettings,
    tracker: Tracker,
) -> dict[str, float]:
    """Align, write the two outputs and return the numbers to show."""
    examples = preference_set(
        dataset, pairs, prompts, settings.negatives, settings.pairs, settings.held_out, options.seed
    )
    logger.info("%d pairs to train on, %d of other users held out", len(examples.train), len(examples.held_out))

    def track(row: AlignmentRow) -> None:
        tracker.metrics({f"{row.split}/{name}": getattr(row, name) for name in TRACKED}, row.step)
        if row.learning_rate is not None:
            tracker.metrics({"learning_rate": row.learning_rate}, row.step)

    task = AlignmentTask(dataset.name, examples, settings, options.seed)
    checkpoints = _checkpoint_folder(options, tuned)
    with held_by_this_process(checkpoints):
        alignment = align(ranker, task, checkpoints, track)
    numbers = _numbers(alignment) | {"pairs": float(len(examples.train)), "held_out": float(len(examples.held_out))}
    facts = replace(
        tuned,
        stage=STAGE,
        seed=options.seed,
        profile=options.profile,
        recipe={**tuned.recipe, "align": asdict(settings)},
        training=_training(tuned, alignment, numbers),
    )
    write_adapter(options.aligned_dir, ranker.model, facts)
    rate = settings.steps.learning_rate
    trained = Training("align_llm", dataset.name, tuned.source, options.seed, alignment.optimizer, rate)
    write_curve(options.curve, Curve.of(trained, (point for row in alignment.rows for point in row.points())))
    return numbers


def _checkpoint_folder(options: Settings, tuned: RankerFacts) -> Path:
    """Return a folder of this alignment's own.

    Those of other retrievers, data or overrides may run side by side; an adapter or pairs that changed since begin
    again.
    """
    folder = Path(options.checkpoint_dir or f"{options.aligned_dir}.checkpoints")
    read = [checksums(path)[1] for path in (options.adapter_dir / "adapter_model.safetensors", options.pairs)]
    name = f"align-{tuned.retriever}-seed{options.seed}"
    return folder / checkpoint_name(name, options.language_model_version, options.overrides, tuned.fingerprint, *read)


def _numbers(alignment: Alignment) -> dict[str, float]:
    """Return how the held-out pairs stood before and after, and the pace."""
    looks = [row for row in alignment.rows if row.split == HELD_OUT]
    return {
        "accuracy_before": looks[0].accuracy,
        "accuracy": looks[-1].accuracy,
        "log_odds_ratio_before": looks[0].log_odds_ratio,
        "log_odds_ratio": looks[-1].log_odds_ratio,
        "margin_before": looks[0].margin,
        "margin": looks[-1].margin,
        "nll_before": looks[0].nll,
        "nll": looks[-1].nll,
        "tokens_per_second": alignment.tokens_per_second,
        "peak_memory_mib": alignment.peak_memory / 2**20,
    }


def _training(tuned: RankerFacts, alignment: Alignment, numbers: dict[str, float]) -> dict[str, Any]:
    return {
        **numbers,
        "steps": alignment.steps,
        "optimizer": alignment.optimizer,
        "seconds": alignment.seconds,
        "finetuning": tuned.training,
    }


def main() -> None:
    """Run the stage from the command line."""
    run_stage(Settings.parser(), run)


if __name__ == "__main__":
    main()

"""Align a ranker to preference pairs by ORPO: ``python -m ssm4rec.stages.align_llm --help``."""

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

import numpy

from ssm4rec.artifacts.curve import HELD_OUT, Curve, Point, Training, write_curve
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.items import read_titles
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.names import MODEL_WEIGHTS
from ssm4rec.artifacts.preferences import read_pairs
from ssm4rec.artifacts.ranker import ALIGN, FINETUNE, RankerFacts
from ssm4rec.artifacts.titles import check_titles_trained_with
from ssm4rec.data.download import checksums
from ssm4rec.llm.alignment import AlignmentTask, align
from ssm4rec.llm.language_models import memory_advice
from ssm4rec.llm.preference_examples import preference_set
from ssm4rec.llm.rankers import load_ranker
from ssm4rec.llm.sources import check_source_unchanged
from ssm4rec.llm.validated_trainer import optimizer_name
from ssm4rec.recipes.rankers import ranker_recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import cache_folder, held_by_this_process
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.align_llm.settings import Settings
from ssm4rec.tracking import RECIPE, tracked_task
from ssm4rec.training.checkpoint import checkpoint_name
from ssm4rec.training.device import choose_device

logger = logging.getLogger(__name__)

_TO_LOWER: Final = "align.steps.batch, align.prompt.maximum_tokens or align.prompt.history (--overrides)"


def run(options: Settings) -> None:
    """Align and write the adapter and the learning curve."""
    if not options.executor_input:
        options.check_by_hand()
    dataset = read_sequences(options.dataset_dir)
    tuned = RankerFacts.read(options.adapter_dir, dataset)
    if tuned.stage != FINETUNE:
        raise InputError(f"--adapter-dir {options.adapter_dir}: aligned already; give the folder of finetune_llm")
    settings = ranker_recipe(options.profile, options.overrides, tuned.ranker).align
    pairs = read_pairs(options.pairs, dataset)
    if len(numpy.unique(pairs.users)) < 2:
        raise InputError(f"{options.pairs}: of one user alone, none can be held out; mine more pairs")
    titles = read_titles(options.dataset_dir)
    check_titles_trained_with(options.adapter_dir, tuned.titles, titles)
    device = choose_device(options.device)
    manifest = read_manifest(options.dataset_dir)
    labels = {**data_labels(manifest), "seed": str(options.seed), "retriever": tuned.retriever}
    tags = {"stage": "align-llm", "profile": options.profile, "language_model": tuned.source, **labels}
    what = "align winners alone" if options.winners_alone else "align"
    name = run_name(tuned.source, manifest, options.seed, what)
    with tracked_task(name, tags) as tracker:
        # Not by the input's name, which KFP logs in quotes.
        how = {**asdict(settings), "winners_alone": options.winners_alone}
        described = {"profile": options.profile, "source": tuned.source, "align": how}
        tracker.settings({**labels, RECIPE: described, "computed": {"device": device.type}})
        tracker.dataset(manifest, "preferences")

        def track(point: Point) -> None:
            named = {name if name == "learning_rate" else f"{point.split}/{name}": name for name in point.measured}
            tracker.metrics({shown: point.measured[name] for shown, name in named.items()}, point.step)

        ranker = load_ranker(tuned, options.adapter_dir, cache_folder(options.cache_dir), device, trainable=True)
        check_source_unchanged(options.language_model_version, tuned.source)
        prompts = ranker.prompts(titles, settings.prompt)
        examples = preference_set(dataset, pairs, prompts, settings, options.seed)
        logger.info("%d pairs to train on, %d of other users held out", len(examples.train), len(examples.held_out))
        if examples.left_out:
            logger.info("%d pairs left out, lost by an item of the prompt's own history", examples.left_out)
        checkpoints = _checkpoint_folder(options, tuned)
        with memory_advice(_TO_LOWER), held_by_this_process(checkpoints):
            task = AlignmentTask(examples, settings, options.seed, options.winners_alone)
            alignment = align(ranker, task, checkpoints, track)
        before = next(point for point in alignment.points if point.split == HELD_OUT)
        numbers = {
            f"{name}{suffix}": point.measured[name]
            for name in ("accuracy", "log_odds_ratio", "margin", "nll")
            for suffix, point in (("_before", before), ("", alignment.last))
        } | {
            "tokens_per_second": alignment.tokens_per_second,
            "peak_memory_mib": alignment.peak_memory_bytes / 2**20,
            "pairs": float(len(examples.train)),
            "held_out": float(len(examples.held_out)),
        }
        optimizer = optimizer_name(settings.steps, device)
        origins = ", ".join(dict.fromkeys(pairs.origins.tolist()))
        went = {"pairs_by": origins, "steps": alignment.last.step, "optimizer": optimizer, "seconds": alignment.seconds}
        facts = replace(
            tuned,
            stage=ALIGN,
            seed=options.seed,
            profile=options.profile,
            recipe={**tuned.recipe, "align": asdict(settings)},
            training={**numbers, **went, "finetuning": tuned.training},
            winners_alone=options.winners_alone,
        )
        ranker.write(options.aligned_dir, facts)
        trained = Training(ALIGN, dataset.name, tuned.source, options.seed, optimizer, settings.steps.learning_rate)
        write_curve(options.curve, Curve.of(trained, alignment.points))
        tracker.metrics(numbers)
        tracker.artifact(options.aligned_dir)
    write_executor_output(options.executor_input, {"aligned": {**numbers}})
    logger.info(
        "%s: accuracy on held-out pairs %.1f%%, %.1f%% before; written to %s",
        name, 100 * numbers["accuracy"], 100 * numbers["accuracy_before"], options.aligned_dir,
    )  # fmt: skip


def _checkpoint_folder(options: Settings, tuned: RankerFacts) -> Path:
    """Return a folder of this alignment's own: a changed adapter, or changed pairs, start again."""
    folder = Path(options.checkpoint_dir or f"{options.aligned_dir}.checkpoints")
    weights = "adapter_model.safetensors" if tuned.ranker == "letters" else MODEL_WEIGHTS
    read = [checksums(path)[1] for path in (options.adapter_dir / weights, options.pairs)]
    name = f"align{'-winners' if options.winners_alone else ''}-{tuned.retriever}-seed{options.seed}"
    return folder / checkpoint_name(name, options.language_model_version, options.overrides, tuned.fingerprint, *read)


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

"""Train one recommender on a dataset folder: ``python -m ssm4rec.stages.train_recommender --help``."""

import hashlib
import logging
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from ssm4rec.artifacts.curve import write_curve
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.earlier_names import overrides_of_before
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.recipes.recommenders import histories, recipe
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import held_by_this_process
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.train_recommender.nodes import train_on_nodes
from ssm4rec.stages.train_recommender.settings import Settings
from ssm4rec.tracking import RECIPE, tracked_task
from ssm4rec.training.device import choose_device, choose_kernels
from ssm4rec.training.distributed import Distributed, choose_precision, is_one_of_several, process_group, run_processes
from ssm4rec.training.epochs import EpochRow, learning_curve
from ssm4rec.training.flops import training_flops
from ssm4rec.training.initial_model import start_from
from ssm4rec.training.loop import train
from ssm4rec.training.model_folder import write_model
from ssm4rec.training.settings import Recipe
from ssm4rec.training.task import Task

logger = logging.getLogger(__name__)

MODULE = "ssm4rec.stages.train_recommender"
TRACKED = (
    "train_loss", "learning_rate", "validation_hit_10", "validation_ndcg_10", "fill", "cpu_seconds", "targets_seen",
    "curvature", "bregman", "curvature_term", "noise_term",
)  # fmt: skip
"""What of an epoch's row is logged as a metric, where it is known."""
SPENT = ("seconds", "package_joules", "gpu_joules")
"""What of config.json is, where it is known; CPU-seconds are in the rows."""


def checkpoint_name(options: Settings, dataset: SequenceDataset, initial: str = "") -> str:
    """Return the subfolder of a training's checkpoint; ``initial``: the digest of the weights that it starts from.

    Trainings that differ in data, in the split of the same data, in overrides or in their start may run side by side.
    The overrides count under the names of before: a checkpoint of then is found by whichever names.
    """
    parts = [options.model, f"seed{options.seed}", dataset.fingerprint[:8]]
    if options.overrides:
        parts.append(hashlib.sha256(overrides_of_before(options.overrides).encode()).hexdigest()[:8])
    if initial:
        parts += ["from", initial[:8], *([] if options.same_items else ["words"])]
    return "-".join(parts)


def run(options: Settings) -> None:
    """Train and write model and curve; of several processes every one trains and the first writes."""
    dataset = read_sequences(options.dataset_dir)
    chosen = recipe(options.model, options.profile, histories(dataset), options.overrides)
    if not options.same_items and options.initial_model is None:
        raise InputError("--same-items false: is about the items of --initial-model; give one, or leave it out")
    if chosen.training.frozen_epochs and options.initial_model is None:
        raise InputError(
            "--overrides training.frozen_epochs: is about the layers of --initial-model; give one, or leave it out"
        )
    if options.count_flops and chosen.training.loss != "softmax":
        raise InputError(
            f"--count-flops true: counts a loss over the whole catalog, and training.loss is {chosen.training.loss}; "
            "leave it out"
        )
    data = dataset, options.dataset_dir
    start = start_from(options.initial_model, options.model, chosen.model, *data, same_items=options.same_items)
    task = Task(options.model, chosen, dataset, options.seed, start)
    if options.nodes > 1:
        options.check()  # KFP's backend starts a stage that nobody checked
        # Of the device the nodes know.
        train_on_nodes(options, MODULE)
        return
    device = choose_device(options.device)
    choose_kernels(options.kernels, device)
    distributed = Distributed(device, choose_precision(options.precision, device), options.compile)
    name = checkpoint_name(options, dataset, start.initial.digest if start.initial else "")
    checkpoints = Path(options.checkpoint_dir or f"{options.model_dir}.checkpoints") / name
    if options.processes > 1 and not is_one_of_several():
        # Everything that can be wrong with the flags has been seen by now, and said once.
        sys.exit(run_processes(MODULE, sys.argv[1:], options.processes, device))
    with process_group(distributed) as distributed:
        if distributed.is_main:
            _train_and_write(options, task, distributed, checkpoints)
        else:
            with suppress(InputError):  # the first process says it, and its exit status counts
                train(task, distributed, checkpoints, lambda _: None)


def _train_and_write(options: Settings, task: Task[Recipe], distributed: Distributed, checkpoints: Path) -> None:
    computed = {
        "device": distributed.device.type,
        "precision": distributed.precision,
        "compiled": distributed.compiled,
        "processes": distributed.world_size,
    }
    manifest = read_manifest(options.dataset_dir)
    labels = {"model": task.name, "seed": str(task.seed), **data_labels(manifest)}
    tags = {"stage": "train", "profile": options.profile, **labels}
    with tracked_task(run_name(task.name, manifest, task.seed, "train", options.label), tags) as tracker:
        tracker.settings(
            {
                **labels,
                "validation_protocol": UNMASKED,
                RECIPE: {"profile": options.profile, **asdict(task.recipe)},
                "computed": computed,
            }
        )
        tracker.dataset(manifest, "training")

        def track(row: EpochRow) -> None:
            known = {name: getattr(row, name) for name in TRACKED if getattr(row, name) is not None}
            known = {name.replace("_10", "@10"): value for name, value in known.items()}  # no field has an "@"
            tracker.metrics({**known, "targets_per_step": row.targets / len(row.batch_targets)}, row.epoch)

        with held_by_this_process(checkpoints):
            trained = train(task, distributed, checkpoints, track)
        counted = training_flops(task, len(trained.progress.epochs)) if options.count_flops else {}
        told = {**computed, **counted}
        config = write_model(options.model_dir, task, trained, told, profile=options.profile, label=options.label)
        write_curve(options.curve, learning_curve(trained.progress.epochs))
        best = trained.progress.best
        tracker.metrics(
            {
                "parameters": config["parameters"],
                "best_epoch": config["training"]["best_epoch"],
                "best_validation_ndcg@10": best.validation_ndcg_10,
                "best_validation_hit@10": best.validation_hit_10,
                **{name: config["training"][name] for name in SPENT if name in config["training"]},
            }
        )
        tracker.artifact(options.model_dir)
    training = config["training"]
    logger.info(
        "%s: %s parameters, best epoch %d of %d, validation ndcg@10 %.4f unmasked, %.0f cpu-seconds; written to %s",
        task.name, f"{config['parameters']:,}", training["best_epoch"], training["epochs"],
        training["validation_ndcg@10"], training["cpu_seconds"], options.model_dir,
    )  # fmt: skip


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

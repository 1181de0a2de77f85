"""Train one recommender on a dataset folder: ``python -m ssm4rec.stages.train_recommender --help``."""

import argparse
import hashlib
import logging
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from ssm4rec.command_line import StageParser, boolean, one_of, run_stage, whole_number
from ssm4rec.contracts import MODELS
from ssm4rec.data.dataset import SequenceDataset, read_manifest, read_sequences, titled
from ssm4rec.device import DEVICES, choose_device, choose_kernels
from ssm4rec.errors import InputError
from ssm4rec.files import held_by_this_process
from ssm4rec.ops.choice import FORMS
from ssm4rec.outputs import input_path, kept_folder, output_file, output_folder
from ssm4rec.recipes import Histories, histories, recipe
from ssm4rec.tracking import tracked_task
from ssm4rec.training.history import EpochRow, write_history
from ssm4rec.training.loop import train
from ssm4rec.training.machine import (
    PRECISIONS,
    Machine,
    check_processes,
    choose_precision,
    is_one_of_several,
    joined,
    run_processes,
)
from ssm4rec.training.model_folder import write_model
from ssm4rec.training.settings import Recipe
from ssm4rec.training.task import Task
from ssm4rec.training_flags import add_recipe_flags

logger = logging.getLogger(__name__)

MODULE = "ssm4rec.stages.train_recommender"
TRACKED = (
    "train_loss", "learning_rate", "validation_hit_10", "validation_ndcg_10", "fill", "cpu_seconds", "targets_seen",
    "curvature", "bregman", "curvature_term", "noise_term",
)  # fmt: skip
"""What of an epoch's row is logged as a metric, where it is known."""


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(MODULE, "Train one recommender; killed, the same command resumes.")
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument("--model", type=one_of(MODELS), required=True, help=f"recommender: {', '.join(MODELS)}")
    add_recipe_flags(parser, "training.epochs=3,model.dropout=0.1")
    parser.add_argument(
        "--device", type=one_of(DEVICES), default="auto", help="cpu, cuda, or auto: cuda where there is one"
    )
    parser.add_argument(
        "--precision",
        type=one_of(PRECISIONS),
        default="auto",
        help="fp32, tf32, bf16, or auto: bf16 on a GPU (weights stay fp32), else fp32",
    )
    parser.add_argument(
        "--kernels",
        type=one_of(FORMS),
        default="auto",
        help="form of the operators: sequential, torch, fused (compiled kernels, an error where they are missing), "
        "or auto: fused where they are",
    )
    parser.add_argument("--compile", type=boolean, default=False, help="send the model through torch.compile")
    parser.add_argument(
        "--processes",
        type=whole_number(1),
        default=1,
        help="processes that share each batch, one a GPU; torchrun starts them",
    )
    parser.add_argument(
        "--checkpoint-dir",
        type=kept_folder,
        default="",
        help="folder of checkpoints, one subfolder per model, seed, data and overrides; empty: beside the model folder",
    )
    parser.add_argument(
        "--model-dir", type=output_folder("train_recommender"), required=True, help="model folder to write"
    )
    parser.add_argument(
        "--history", type=output_file("Parquet"), required=True, help="history.parquet to write, a row per epoch"
    )
    return parser


def checkpoint_name(options: argparse.Namespace, dataset: SequenceDataset) -> str:
    """Return the subfolder of a training's checkpoint.

    Trainings that differ in data, in the split of the same data or in overrides may run side by side.
    """
    name = f"{options.model}-seed{options.seed}-{dataset.fingerprint[:8]}"
    return f"{name}-{hashlib.sha256(options.overrides.encode()).hexdigest()[:8]}" if options.overrides else name


def check(options: argparse.Namespace) -> None:
    """Raise InputError if the flags are wrong on every machine, whatever the data."""
    problems = []
    for kind in get_args(Histories):  # which of them the data have is not known yet
        try:
            recipe(options.model, options.profile, kind, options.overrides)
        except InputError as error:
            problems.append(error)
    if len(problems) == len(get_args(Histories)):
        raise problems[0]


def check_here(options: argparse.Namespace) -> None:
    """Raise InputError if this machine lacks what the flags ask for."""
    device = choose_device(options.device)
    choose_kernels(options.kernels, device)
    choose_precision(options.precision, device)
    check_processes(options.processes, device)


def run(options: argparse.Namespace) -> None:
    """Train and write model and history; of several processes every one trains and the first writes."""
    dataset = read_sequences(options.dataset_dir)
    chosen = recipe(options.model, options.profile, histories(dataset), options.overrides)
    task = Task(options.model, chosen, dataset, options.seed)
    device = choose_device(options.device)
    choose_kernels(options.kernels, device)
    machine = Machine(device, choose_precision(options.precision, device), options.compile)
    checkpoints = Path(options.checkpoint_dir or f"{options.model_dir}.checkpoints") / checkpoint_name(options, dataset)
    if options.processes > 1 and not is_one_of_several():
        # Everything that can be wrong with the flags has been seen by now, and said once.
        sys.exit(run_processes(MODULE, sys.argv[1:], options.processes, device))
    with joined(machine) as machine:
        if machine.first:
            _train_and_write(options, task, machine, checkpoints)
        else:
            with suppress(InputError):  # the first process says it, and its exit status counts
                train(task, machine, checkpoints, lambda _: None)


def _train_and_write(options: argparse.Namespace, task: Task[Recipe], machine: Machine, checkpoints: Path) -> None:
    dataset = task.dataset
    labels = {"model": task.name, "dataset": dataset.name, "seed": str(task.seed)}
    computed = {
        "device": machine.device.type,
        "precision": machine.precision,
        "compiled": machine.compiled,
        "processes": machine.world,
    }
    manifest = read_manifest(options.dataset_dir)
    labels["splitting"] = manifest["split"]["name"]
    tags = {"stage": "train", "profile": options.profile, **labels}
    with tracked_task(f"train {task.name} {titled(manifest)} seed {task.seed}", tags) as tracker:
        tracker.settings(
            {**labels, "recipe": {"profile": options.profile, **asdict(task.recipe)}, "computed": computed}
        )
        tracker.dataset(manifest, "training")

        def track(row: EpochRow) -> None:
            known = {name: getattr(row, name) for name in TRACKED if getattr(row, name) is not None}
            tracker.metrics({**known, "targets_per_step": row.targets / len(row.batch_targets)}, row.epoch)

        with held_by_this_process(checkpoints):
            trained = train(task, machine, checkpoints, track)
        config = write_model(options.model_dir, task, trained, options.profile, computed)
        write_history(options.history, trained.progress.epochs)
        tracker.metrics({"parameters": config["parameters"], "best_epoch": config["training"]["best_epoch"]})
        tracker.artifact(options.model_dir)
    training = config["training"]
    logger.info(
        "%s: %s parameters, best epoch %d of %d, validation ndcg@10 %.4f unmasked, %.0f cpu-seconds; written to %s",
        task.name, f"{config['parameters']:,}", training["best_epoch"], training["epochs"],
        training["validation_ndcg@10"], training["cpu_seconds"], options.model_dir,
    )  # fmt: skip


def main() -> None:
    """Run the stage from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

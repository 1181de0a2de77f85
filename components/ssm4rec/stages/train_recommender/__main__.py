"""Train one recommender on a dataset folder: ``python -m ssm4rec.stages.train_recommender --help``."""

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

from ssm4rec.command_line import StageParser, run_stage
from ssm4rec.contracts import MODELS, PROFILES
from ssm4rec.data.dataset import read_manifest, read_sequences
from ssm4rec.device import choose_device
from ssm4rec.recipes import recipe
from ssm4rec.tracking import tracked_task
from ssm4rec.training.history import EpochRow, write_history
from ssm4rec.training.loop import Task, train
from ssm4rec.training.model_folder import write_model

logger = logging.getLogger(__name__)

TRACKED = ("train_loss", "learning_rate", "validation_hit_10", "validation_ndcg_10", "fill", "cpu_seconds")
"""What of an epoch's row is logged as a metric."""


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(
        "ssm4rec.stages.train_recommender", "Train one recommender; killed, the same command goes on where it was."
    )
    parser.add_argument("--dataset-dir", type=Path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument("--model", required=True, help=f"recommender: {', '.join(MODELS)}")
    parser.add_argument("--profile", default="quick", help=f"size of the training: {', '.join(PROFILES)}")
    parser.add_argument("--seed", type=int, default=0, help="decides every random number")
    parser.add_argument(
        "--overrides", default="", help="changes to the recipe, such as training.epochs=3,model.dropout=0.1"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument(
        "--checkpoint-dir",
        default="",
        help="folder of checkpoints, one subfolder per model and seed; empty: beside the model folder",
    )
    parser.add_argument("--model-dir", type=Path, required=True, help="model folder to write")
    parser.add_argument("--history", type=Path, required=True, help="history.parquet to write, a row per epoch")
    return parser


def run(options: argparse.Namespace) -> None:
    """Train and write model and history."""
    dataset = read_sequences(options.dataset_dir)
    chosen = recipe(options.model, options.profile, dataset.name, options.overrides)
    task = Task(options.model, chosen, dataset, options.seed)
    device = choose_device(options.device)
    name = f"{options.model}-seed{options.seed}"
    checkpoints = Path(options.checkpoint_dir or f"{options.model_dir}.checkpoints") / name
    labels = {"model": options.model, "dataset": dataset.name, "seed": str(options.seed), "profile": options.profile}
    with tracked_task(
        f"train {options.model} {dataset.name} seed {options.seed}", {"stage": "train", **labels}
    ) as tracker:
        tracker.settings({**labels, "recipe": asdict(chosen), "device": device.type})
        tracker.dataset(read_manifest(options.dataset_dir), "training")

        def track(row: EpochRow) -> None:
            tracker.metrics({name: getattr(row, name) for name in TRACKED}, row.epoch)

        trained = train(task, device, checkpoints, track)
        config = write_model(options.model_dir, task, trained, options.profile, device.type)
        write_history(options.history, trained.progress.epochs)
        tracker.metrics({"parameters": config["parameters"], "best_epoch": config["training"]["best_epoch"]})
        tracker.artifact(options.model_dir)
    training = config["training"]
    logger.info(
        "%s: %s parameters, best epoch %d of %d, validation ndcg@10 %.4f, %.0f cpu-seconds; written to %s",
        options.model, f"{config['parameters']:,}", training["best_epoch"], training["epochs"],
        training["validation_ndcg@10"], training["cpu_seconds"], options.model_dir,
    )  # fmt: skip


def main() -> None:
    """Run the stage from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

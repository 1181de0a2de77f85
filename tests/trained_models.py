"""Model folders as train_recommender writes them, with random weights and a validation of one's choice."""

from pathlib import Path

import torch

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.checkpoint import Progress
from ssm4rec.training.loop import Trained
from ssm4rec.training.model_folder import write_model
from ssm4rec.training.start import Start
from ssm4rec.training.task import Task
from tests.epoch_rows import epoch_row


def write_random_model(
    dataset: Path,
    folder: Path,
    name: str,
    validation: float,
    seed: int = 0,
    overrides: str = "",
    profile: str = "quick",
    start: Start | None = None,
) -> Path:
    """Write a model folder, of a size as in smoke whatever profile it names, and return it."""
    data, chosen = read_sequences(dataset), recipe(name, "smoke", "short", overrides)
    torch.manual_seed(seed)
    start = start or Start()
    model = chosen.model.build(data.item_count, start.words)
    row = epoch_row(model=name, seed=seed, validation_ndcg_10=validation)
    progress = Progress(epochs=[row], best_epoch=1)
    task = Task(name, chosen, data, seed, start)
    write_model(folder, task, Trained(model, progress, "epochs"), {}, profile=profile)
    return folder

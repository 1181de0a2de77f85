"""What was written before parameters and recipes got the field's names (edc6c1e) loads, scores and resumes.

Compared to float32's rounding: another kind of processor adds in another order. ``before_names/`` has a narrow model
of each kind, trained two epochs on ``cycle_dataset`` with the overrides below, its scores, and of two of them the
checkpoint after the first epoch.
"""

import shutil
from pathlib import Path
from typing import Final

import pytest
import torch
from safetensors.torch import load_file

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.checkpoint import FILE_NAME
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.loop import train
from ssm4rec.training.model_folder import read_model
from ssm4rec.training.task import Task

FOLDER: Final = Path(__file__).with_name("before_names")
OVERRIDES: Final = {
    "sasrec": "training.tokens_per_batch=64,model.width=8,model.inner_width=8,model.maximum_length=10,"
    "training.stretches=all",
    "2mamba4rec": "training.tokens_per_batch=64,model.width=8,model.inner_width=8,model.maximum_length=10,"
    "model.mixer.state_size=4,model.mixer.head_width=8,model.mixer.chunk_length=4",
}


@pytest.mark.parametrize("name", ["sasrec", "mamba4rec", "2mamba4rec", "hydra4rec", "lrurec"])
def test_model_folders_score_alike(name: str) -> None:
    expected = load_file(FOLDER / name / "scores.safetensors")
    stored = read_model(FOLDER / name)
    with torch.no_grad():
        scores = stored.model.score_next(expected["items"], expected["lengths"])
    torch.testing.assert_close(scores, expected["scores"])
    assert stored.config["recipe"]["model"]["d_model"] == 8


@pytest.mark.parametrize("name", OVERRIDES)
def test_checkpoints_resume_to_the_same_weights(cycle_dataset: Path, tmp_path: Path, name: str) -> None:
    shutil.copy(FOLDER / name / FILE_NAME, tmp_path)
    task = Task(name, recipe(name, "smoke", "long", OVERRIDES[name]), read_sequences(cycle_dataset), seed=0)
    resumed = train(task, Distributed(torch.device("cpu")), tmp_path, lambda _: None)
    expected = read_model(FOLDER / name).model.state_dict()
    torch.testing.assert_close(dict(resumed.model.state_dict()), dict(expected), rtol=1e-4, atol=1e-5)

"""What evaluate is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.artifacts.dataset import Split
from ssm4rec.artifacts.names import CANDIDATES_PER_USER, SPLITS
from ssm4rec.settings.command_line import one_of
from ssm4rec.settings.flags import Flag, Read, Shown, StageSettings, Written
from ssm4rec.settings.outputs import output_file
from ssm4rec.settings.shared import DatasetDir, Device, FromKFP, Workers
from ssm4rec.training.device import check_workers, choose_device


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Rank the whole catalog for every target of a split, by a recommender and baselines."""

    dataset_dir: DatasetDir
    model_dir: Annotated[Path, Read("Model", "model folder, from train_recommender")]
    split: Annotated[Split, Flag(f"whose targets are ranked: {', '.join(SPLITS)}", one_of(SPLITS))] = "test"
    other_data: Annotated[
        bool,
        Flag(
            "rank data that the model was not trained on, such as the next day's: items are found by the source's ids, "
            "and those that it does not know have their words alone"
        ),
    ] = False
    device: Device = "auto"
    workers: Workers = 1
    ranks: Annotated[Path, Written("Artifact", output_file("Parquet"), "ranks.parquet to write, a row per target")]
    candidates: Annotated[
        Path,
        Written(
            "Artifact",
            output_file("Parquet"),
            f"candidates.parquet to write, the best {CANDIDATES_PER_USER} items per user that the user has not had",
        ),
    ]
    metrics: Annotated[Path, Written("Artifact", output_file("JSON"), "metrics.json to write")]
    shown: Annotated[None, Shown("its numbers at cutoff 10, for the KFP UI; no task reads them")] = None
    executor_input: FromKFP = ""

    def check_here(self) -> None:
        """Raise InputError if several workers are wanted without Ray, or with more GPUs than there are."""
        check_workers(self.workers, choose_device(self.device))

"""What evaluate_generator is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from ssm4rec.artifacts.dataset import Split
from ssm4rec.artifacts.names import SPLITS
from ssm4rec.settings.command_line import one_of
from ssm4rec.settings.flags import Flag, Read, Shown, StageSettings, Written
from ssm4rec.settings.outputs import output_file
from ssm4rec.settings.shared import DatasetDir, Device, FromKFP


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Let a generator write queries for every user of a split, and find items for them, next to most-popular."""

    IMAGE: ClassVar[str] = "llm"

    dataset_dir: DatasetDir
    generator_dir: Annotated[Path, Read("Model", "generator folder, from train_generator")]
    split: Annotated[Split, Flag(f"whose targets are looked for: {', '.join(SPLITS)}", one_of(SPLITS))] = "test"
    device: Device = "auto"
    lists: Annotated[
        Path, Written("Artifact", output_file("Parquet"), "lists.parquet to write: items and queries, a row per user")
    ]
    metrics: Annotated[Path, Written("Artifact", output_file("JSON"), "generation.json to write")]
    shown: Annotated[None, Shown("its numbers at cutoff 10, for the KFP UI; no task reads them")] = None
    executor_input: FromKFP = ""

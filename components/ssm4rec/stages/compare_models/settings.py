"""What compare_models is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.settings.flags import Read, StageSettings, Written
from ssm4rec.settings.outputs import output_file
from ssm4rec.settings.shared import DatasetDir, FromKFP, Resamples, Seed


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Say which differences between models are significant."""

    dataset_dir: DatasetDir
    ranks: Annotated[tuple[Path, ...], Read("Artifact", "ranks.parquet of each evaluation")] = ()
    candidates: Annotated[tuple[Path, ...], Read("Artifact", "candidates.parquet of each evaluation")] = ()
    executor_input: FromKFP = ""
    resamples: Resamples = 10_000
    seed: Seed = 0
    comparison: Annotated[
        Path,
        Written("Artifact", output_file("JSON"), "comparison.json to write: intervals, tests, slices, coverage"),
    ]

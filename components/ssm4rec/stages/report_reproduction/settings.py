"""What report_reproduction is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.settings.flags import Read
from ssm4rec.settings.shared import EvaluatedSettings, FromKFP, ReportSettings, Resamples


@dataclass(frozen=True, kw_only=True)
class Settings(ReportSettings, EvaluatedSettings):
    """Write the report of a reproduction study: MovieLens-1M in RecBole's order (--event-order recbole)."""

    dataset_dir: Annotated[
        Path, Read("Dataset", "dataset folder, from prepare_data --dataset ml-1m --event-order recbole")
    ]
    resamples: Resamples = 10_000
    executor_input: FromKFP = ""

"""What report_long_histories is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.settings.flags import Read
from ssm4rec.settings.shared import DatasetDir, EvaluatedSettings, FromKFP, ReportSettings, Resamples


@dataclass(frozen=True, kw_only=True)
class Settings(ReportSettings, EvaluatedSettings):
    """Write the report of a long-history study."""

    dataset_dir: DatasetDir
    latency: Annotated[Path, Read("Artifact", "latency.json, from measure_latency with --lengths")]
    resamples: Resamples = 10_000
    executor_input: FromKFP = ""

"""What report_reproduction is told."""

from dataclasses import dataclass

from ssm4rec.shared_settings import DatasetDir, EvaluatedSettings, FromKFP, ReportSettings, Resamples


@dataclass(frozen=True, kw_only=True)
class Settings(ReportSettings, EvaluatedSettings):
    """Write the report of a reproduction study: MovieLens-1M in RecBole's order (--event-order recbole)."""

    dataset_dir: DatasetDir
    resamples: Resamples = 10_000
    executor_input: FromKFP = ""

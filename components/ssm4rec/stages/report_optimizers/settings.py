"""What report_optimizers is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.settings.flags import Read
from ssm4rec.settings.shared import FromKFP, ReportSettings


@dataclass(frozen=True, kw_only=True)
class Settings(ReportSettings):
    """Write the report of an optimizer study."""

    sweep: Annotated[tuple[Path, ...], Read("Artifact", "curve.parquet of each training of the sweep")] = ()
    comparison: Annotated[tuple[Path, ...], Read("Artifact", "curve.parquet of each training of the comparison")] = ()
    executor_input: FromKFP = ""

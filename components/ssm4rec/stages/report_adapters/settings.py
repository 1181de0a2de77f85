"""What report_adapters is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ssm4rec.settings.flags import Read
from ssm4rec.settings.shared import FromKFP, ReportSettings


@dataclass(frozen=True, kw_only=True)
class Settings(ReportSettings):
    """Write the report of an adapter study."""

    adapters: Annotated[tuple[Path, ...], Read("Model", "adapter folders of finetune_llm")] = ()
    curves: Annotated[tuple[Path, ...], Read("Artifact", "curve.parquet of each, in the same order")] = ()
    executor_input: FromKFP = ""

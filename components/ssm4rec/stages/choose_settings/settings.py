"""What choose_settings is told."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, get_args

from ssm4rec.artifacts.names import ControllerName
from ssm4rec.settings.command_line import names
from ssm4rec.settings.flags import Flag, Read, StageSettings, Written
from ssm4rec.settings.outputs import output_file
from ssm4rec.settings.shared import FromKFP, Seeds

_CONTROLS = get_args(ControllerName)


@dataclass(frozen=True, kw_only=True)
class Settings(StageSettings):
    """Choose the best scale of every optimizer, and list the trainings of the comparison."""

    curves: Annotated[tuple[Path, ...], Read("Artifact", "curve.parquet of each training of the sweep")] = ()
    executor_input: FromKFP = ""
    controls: Annotated[
        tuple[str, ...], Flag(f"batch controls to compare, of {', '.join(_CONTROLS)}", names(_CONTROLS))
    ] = _CONTROLS
    seeds: Seeds = (0, 1, 2)
    overrides: Annotated[str, Flag("changes to the recipe that all trainings share, or empty")] = ""
    trainings: Annotated[
        Path,
        Written(
            "list", output_file("JSON"), 'JSON list to write: what to train, one {"model", "seed", "overrides"} each'
        ),
    ]

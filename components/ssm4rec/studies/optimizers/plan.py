"""What the optimizer study trains."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args

from ssm4rec.artifacts.names import ControllerName
from ssm4rec.models.table import MODELS
from ssm4rec.settings.command_line import names
from ssm4rec.settings.flags import Flag
from ssm4rec.settings.shared import Seeds
from ssm4rec.studies.settings import NamedStudy, RecommenderStudy, Row
from ssm4rec.tracking import Tracker
from ssm4rec.training.sweep import COMPARED, SCALES, SHORT, sweep

_CONTROLS = get_args(ControllerName)


@dataclass(frozen=True, kw_only=True)
class Settings(NamedStudy, RecommenderStudy):
    """Compare optimizers and ways to choose batches on one data set, each tuned with as many trials."""

    PACKAGE: ClassVar[str] = "optimizer_study"

    models: Annotated[
        tuple[str, ...], Flag(f"recommenders to train, of {', '.join(MODELS)}", names(MODELS), planned=True)
    ] = ("2mamba4rec",)
    optimizers: Annotated[
        tuple[str, ...],
        Flag(f"to tune and compare, of {', '.join(SCALES)}", names(tuple(SCALES)), planned=True),
    ] = COMPARED
    controls: Annotated[
        tuple[str, ...], Flag(f"ways to choose batches, of {', '.join(_CONTROLS)}", names(_CONTROLS))
    ] = _CONTROLS
    seeds: Seeds = (0, 1, 2)
    overrides: Annotated[str, Flag("changes to the recipe that all trainings share, such as training.epochs=3")] = SHORT

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """Return the sweep; ``choose_settings`` lists the trainings of the comparison when it is done."""
        return {"trainings": sweep(self.models, self.optimizers, self.overrides)}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each method of the comparison reached; seeds count as steps."""
        for row in rows:
            if row["phase"] == "comparison":
                name = f"{row['model']}/{row['optimizer']}/{row['batch_control']}/validation_ndcg@10"
                tracker.metrics({name: row["best_validation_ndcg@10"]}, row["seed"])

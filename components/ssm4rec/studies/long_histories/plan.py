"""What the long-history study trains."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ssm4rec.models.table import MODELS
from ssm4rec.settings.command_line import names, whole_number, whole_numbers
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.settings import NamedStudy, PlannedSeeds, RecommenderStudy, Row
from ssm4rec.tracking import Tracker
from ssm4rec.training.sweep import SHORT
from ssm4rec.training.windows import COMPARED, LATENCY_LENGTHS, WINDOWS, window_trainings


@dataclass(frozen=True, kw_only=True)
class Settings(NamedStudy, RecommenderStudy):
    """Train recommenders with windows of several lengths; measure what long histories are worth and cost."""

    PACKAGE: ClassVar[str] = "long_history_study"

    models: Annotated[
        tuple[str, ...], Flag(f"recommenders to train, of {', '.join(MODELS)}", names(MODELS), planned=True)
    ] = COMPARED
    lengths: Annotated[
        tuple[int, ...],
        Flag("windows: the most items of a history that are read", whole_numbers(1), planned=True),
    ] = WINDOWS
    seeds: PlannedSeeds = (0,)
    overrides: Annotated[
        str,
        Flag("changes to the recipe that all trainings share, such as training.epochs=3", planned=True),
    ] = SHORT
    latency_lengths: Annotated[
        tuple[int, ...],
        Flag("of the histories at which one user is timed, separated by commas", whole_numbers(1)),
    ] = LATENCY_LENGTHS
    latency_samples: Annotated[int, Flag("timed of each model at each length", whole_number())] = 10

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """Return every model at every window.

        Raises:
            InputError: fewer than two windows, or overrides that set what the study sets.
        """
        return {"trainings": window_trainings(self.models, self.lengths, self.seeds, self.overrides)}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each model reached at each window; seeds count as steps."""
        for row in rows:
            if row["kind"] == "quality" and row["window"] is not None:
                name = f"{row['model']}/window{row['window']}/{row['protocol']}/{row['metric']}"
                tracker.metrics({name: row["value"]}, row["seed"])

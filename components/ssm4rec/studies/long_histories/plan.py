"""The trainings of a long-history study: every model at every window, on the same targets.

With ``training.crops=all`` an epoch shows every target once whatever the window, so that models of several windows
see as many targets in as many steps; with one crop per user, a short window would show a fraction of them.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import whole_number, whole_numbers
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.settings import (
    SHORT,
    Lists,
    NamedStudy,
    PlannedModels,
    PlannedSeeds,
    RecommenderStudy,
    Row,
    joined_overrides,
    refuse_own_settings,
    track_means,
)
from ssm4rec.tracking import Tracker

WINDOWS: Final = (10, 25, 50, 100, 200, 400)
"""What a study compares unless told otherwise: of ML-100K, 400 items are the whole history of 930 of 943 users."""

LATENCY_LENGTHS: Final = (50, 200, 1000, 3000, 10_000)

COMPARED: Final = ("sasrec", "mamba4rec", "2mamba4rec")
"""A transformer and the two state-space models of the paper that keep a state; others train as long again."""

_WINDOW: Final = "model.max_length"
_CROPS: Final = "training.crops"


@dataclass(frozen=True, kw_only=True)
class Settings(NamedStudy, RecommenderStudy):
    """Train recommenders with windows of several lengths; measure what long histories are worth and cost."""

    PACKAGE: ClassVar[str] = "long_history_study"

    models: PlannedModels = COMPARED
    lengths: Annotated[
        tuple[int, ...], Flag("windows: the most items of a history that are read", whole_numbers(1), planned=True)
    ] = WINDOWS
    seeds: PlannedSeeds = (0,)
    overrides: Annotated[
        str, Flag("changes to the recipe that all trainings share, such as training.epochs=3", planned=True)
    ] = SHORT
    latency_lengths: Annotated[
        tuple[int, ...], Flag("of the histories at which one user is timed, separated by commas", whole_numbers(1))
    ] = LATENCY_LENGTHS
    latency_samples: Annotated[int, Flag("timed of each model at each length", whole_number())] = 10

    def lists(self) -> Lists:
        """Return every model at every window; raise InputError for a single one, or overrides of the study's own."""
        if len(self.lengths) < 2:
            raise InputError(
                f"--lengths {','.join(map(str, self.lengths))}: at least two, each at least 1, such as 50,200"
            )
        refuse_own_settings("--overrides", self.overrides, [_WINDOW], "name windows with --lengths")
        refuse_own_settings("--overrides", self.overrides, [_CROPS])
        trainings = [
            {
                "model": model,
                "seed": seed,
                "overrides": joined_overrides({_WINDOW: window, _CROPS: "all"}, self.overrides),
                "label": f"window{window}",
            }
            for model in self.models
            for window in self.lengths
            for seed in self.seeds
        ]
        return {"trainings": trainings}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each model reached at each window, the mean over its seeds."""
        values = []
        for row in rows:
            if row["kind"] == "quality" and row["window"] is not None:
                name = f"{row['model']}/window{row['window']}/{row['protocol']}/{row['metric']}"
                values.append((name, row["value"]))
        track_means(tracker, values)

"""The trainings of a long-history study: every model at every window, on the same targets.

With ``training.crops=all`` an epoch shows every target once whatever the window, so that models of several windows
see as many targets in as many steps; with one crop per user, a short window would show a fraction of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from ssm4rec.models.table import MODELS
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import names, whole_number, whole_numbers
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.settings import (
    SHORT,
    NamedStudy,
    PlannedSeeds,
    RecommenderStudy,
    Row,
    joined_overrides,
    refuse_own_settings,
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


def window_trainings(
    models: Sequence[str], windows: Sequence[int], seeds: Sequence[int], overrides: str
) -> list[dict[str, Any]]:
    """Return ``model``, ``seed``, ``overrides`` and ``label`` of each training, as ``train_recommender`` takes them.

    Raises:
        InputError: fewer than two windows, one below 1, or overrides that set what the study sets.
    """
    if len(windows) < 2 or min(windows) < 1:
        raise InputError(f"--lengths {','.join(map(str, windows))}: at least two, each at least 1, such as 50,200")
    refuse_own_settings("--overrides", overrides, [_WINDOW], "name windows with --lengths")
    refuse_own_settings("--overrides", overrides, [_CROPS])
    return [
        {
            "model": model,
            "seed": seed,
            "overrides": joined_overrides({_WINDOW: window, _CROPS: "all"}, overrides),
            "label": f"window{window}",
        }
        for model in models
        for window in windows
        for seed in seeds
    ]

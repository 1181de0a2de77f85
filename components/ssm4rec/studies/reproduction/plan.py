"""The trainings of the reproduction study: every model by every recipe, with and without the repeat term.

The table that they make stands next to published figures of MovieLens-1M (``published.py``).
"""

import itertools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from ssm4rec.artifacts.names import PROFILES
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import names, whole_number
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.settings import Lists, PlannedSeeds, RecommenderStudy, Row, refuse_own_settings, track_means
from ssm4rec.tracking import Tracker

DATASET: Final = "ml-1m"
"""The data set, and the only one, that the published figures are of."""

REPRODUCED: Final = ("hydra4rec", "sasrec", "mamba4rec", "2mamba4rec")
"""The paper's recommenders, the one that trains longest first: begun first, it leaves no core idle at the end."""

RECIPES: Final = ("best", "paper")
"""The profiles that the table is about, unless told otherwise."""

OVERRIDES: Final[Mapping[tuple[str, str], str]] = {
    ("2mamba4rec", "best"): "training.crops=all,training.epochs=24",
    ("sasrec", "best"): "training.crops=all,training.epochs=24",
    ("mamba4rec", "best"): "training.crops=all,training.epochs=24",
    ("hydra4rec", "best"): "training.crops=all,training.epochs=30",
}
"""What the study changes in a recipe of its own accord, by model and profile; a user's own changes come after it."""

PAPER_EPOCHS: Final = 2
"""The most epochs of profile ``paper`` unless told otherwise: 4 CPU-hours for all four models, three times that on an
older machine. Every prefix of every user is an example there: an epoch of MovieLens-1M takes 14 (mamba4rec) to 45
CPU-minutes (hydra4rec)."""

PUBLISHED_EPOCHS: Final = 200
"""The most epochs of profile ``paper`` as published."""

_REPEAT_TERM: Final = "model.repeat_term"
REFIT: Final = "training.refit"
"""Trains on the validation items at last: another protocol than that of the published figures."""


@dataclass(frozen=True, kw_only=True)
class Settings(RecommenderStudy):
    """Set recommenders on MovieLens-1M, in RecBole's order of events, next to published figures."""

    PACKAGE: ClassVar[str] = "reproduction_study"

    models: Annotated[
        tuple[str, ...], Flag(f"recommenders to train, of {', '.join(REPRODUCED)}", names(REPRODUCED), planned=True)
    ] = REPRODUCED
    profiles: Annotated[
        tuple[str, ...],
        Flag(
            f"recipes to train by, of {', '.join(PROFILES)}; all but paper with and without the repeat term",
            names(PROFILES),
            planned=True,
        ),
    ] = RECIPES
    seeds: PlannedSeeds = (0,)
    paper_epochs: Annotated[
        int, Flag("the most epochs of profile paper; 0: as published", whole_number(0), planned=True)
    ] = PAPER_EPOCHS
    overrides: Annotated[
        str, Flag("changes to all recipes, such as training.epochs=3,model.dropout=0.1", planned=True)
    ] = ""

    def lists(self) -> Lists:
        """Return every model by every recipe, ``paper`` without the repeat term, the others with and without it.

        Raises:
            InputError: overrides that set what the study sets, or two recipes that only their profile distinguishes.
        """
        refuse_own_settings("--overrides", self.overrides, [_REPEAT_TERM])
        no_refit = "no published figure is of a model trained on the validation items: leave it out"
        refuse_own_settings("--overrides", self.overrides, [REFIT], no_refit)
        trainings = []
        for model, profile in itertools.product(self.models, self.profiles):
            epochs = f"training.epochs={self.paper_epochs or PUBLISHED_EPOCHS}" if profile == "paper" else ""
            for repeat_term in ["false"] if profile == "paper" else ["true", "false"]:
                own = OVERRIDES.get((model, profile))
                told = filter(None, (own, epochs, self.overrides, f"{_REPEAT_TERM}={repeat_term}"))
                recipe = {
                    "model": model,
                    "profile": profile,
                    "overrides": ",".join(told),
                    "label": f"{profile}-{'repeat-term' if repeat_term == 'true' else 'no-repeat-term'}",
                }
                trainings += [{**recipe, "seed": seed} for seed in self.seeds]
        folders = Counter((one["model"], one["seed"], one["overrides"]) for one in trainings)
        if max(folders.values()) > 1:  # a training's checkpoint is found by these
            raise InputError(
                f"--profiles {','.join(self.profiles)}: trainings that differ in the profile only would share a "
                "checkpoint; run each profile with an --out of its own"
            )
        return {"trainings": trainings}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each model reached by each recipe, the mean over its seeds."""
        values = []
        for row in rows:
            if row["kind"] == "quality" and row["profile"]:
                recipe = f"{row['profile']}-{'with' if row['repeat_term'] else 'without'}-repeat-term"
                values.append((f"{row['model']}/{recipe}/{row['protocol']}/{row['metric']}", row["value"]))
        track_means(tracker, values)

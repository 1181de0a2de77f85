"""What the reproduction study trains."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ssm4rec.artifacts.names import PROFILES
from ssm4rec.settings.command_line import names, whole_number
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.settings import PlannedSeeds, RecommenderStudy, Row
from ssm4rec.tracking import Tracker
from ssm4rec.training.reproduction import PAPER_EPOCHS, RECIPES, REPRODUCED, reproduction_trainings


@dataclass(frozen=True, kw_only=True)
class Settings(RecommenderStudy):
    """Set recommenders on MovieLens-1M, in RecBole's order of events, next to published figures."""

    PACKAGE: ClassVar[str] = "reproduction_study"

    models: Annotated[
        tuple[str, ...],
        Flag(f"recommenders to train, of {', '.join(REPRODUCED)}", names(REPRODUCED), planned=True),
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
        str,
        Flag("changes to all recipes, such as training.epochs=3,model.dropout=0.1", planned=True),
    ] = ""

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """Return every model by every recipe.

        Raises:
            InputError: overrides that set what the study sets, or profiles that give one training twice.
        """
        trainings = reproduction_trainings(self.models, self.profiles, self.seeds, self.paper_epochs, self.overrides)
        return {"trainings": trainings}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each model reached by each recipe; seeds count as steps."""
        for row in rows:
            if row["kind"] == "quality" and row["profile"]:
                recipe = f"{row['profile']}-{'with' if row['repeat_term'] else 'without'}-repeat-term"
                name = f"{row['model']}/{recipe}/{row['protocol']}/{row['metric']}"
                tracker.metrics({name: row["value"]}, row["seed"])

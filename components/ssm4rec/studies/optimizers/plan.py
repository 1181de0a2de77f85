"""The trainings of an optimizer study: first every optimizer over its scale, then the best of each with every control.

Every optimizer gets the same number of trials, on the same seed and data, chosen between by validation NDCG@10: a tuned
method beside an untuned one would compare the tuning.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, get_args

from ssm4rec.artifacts.curve import VALIDATION, Curve
from ssm4rec.artifacts.names import SCALE_SETTINGS, ControllerName
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import names
from ssm4rec.settings.flags import Flag
from ssm4rec.settings.shared import Seeds
from ssm4rec.studies.settings import (
    SHORT,
    Lists,
    NamedStudy,
    PlannedModels,
    RecommenderStudy,
    Row,
    joined_overrides,
    refuse_own_settings,
    track_means,
)
from ssm4rec.tracking import Tracker

SCALES: Final[dict[str, tuple[float, ...]]] = {
    "adamw": (1e-3, 2e-3, 4e-3, 8e-3),
    "adam": (1e-3, 2e-3, 4e-3, 8e-3),
    "sgd": (0.1, 0.3, 1.0, 3.0),
    "usgm": (0.1, 0.3, 1.0, 3.0),
}
"""What is tried of each optimizer: peak learning rates; for USGM, diameters in norms of the initial weights."""

WITHOUT_DECAY: Final = ("adam", "sgd")
"""The recipes' weight decay is AdamW's, decoupled. As a penalty in the loss it is another thing; these go without."""

COMPARED: Final = ("adam", "sgd", "usgm")
"""What a study compares unless told otherwise; AdamW differs from Adam by its decay only."""

_CONTROLS = get_args(ControllerName)


@dataclass(frozen=True, kw_only=True)
class Settings(NamedStudy, RecommenderStudy):
    """Compare optimizers and ways to choose batches on one data set, each tuned with as many trials."""

    PACKAGE: ClassVar[str] = "optimizer_study"

    models: PlannedModels = ("2mamba4rec",)
    optimizers: Annotated[
        tuple[str, ...], Flag(f"to tune and compare, of {', '.join(SCALES)}", names(tuple(SCALES)), planned=True)
    ] = COMPARED
    controls: Annotated[
        tuple[str, ...], Flag(f"ways to choose batches, of {', '.join(_CONTROLS)}", names(_CONTROLS))
    ] = _CONTROLS
    seeds: Seeds = (0, 1, 2)
    overrides: Annotated[str, Flag("changes to the recipe that all trainings share, such as training.epochs=3")] = SHORT

    def lists(self) -> Lists:
        """Return the sweep: each model, optimizer and scale, on seed 0 with fixed batches.

        When it is done, ``choose_settings`` lists the trainings of the comparison. Raise InputError for overrides that
        set what the study sets.
        """
        own = ("optimizer", "batch_control", *(SCALE_SETTINGS[optimizer] for optimizer in self.optimizers))
        refuse_own_settings("--overrides", self.overrides, {f"training.{name}" for name in own})
        trainings = [
            {"model": model, "seed": 0, **_told(optimizer, scale, "fixed", self.overrides)}
            for model in self.models
            for optimizer in self.optimizers
            for scale in SCALES[optimizer]
        ]
        return {"trainings": trainings}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each method of the comparison reached, the mean over its seeds."""
        values = []
        for row in rows:
            if row["phase"] == "comparison":
                name = f"{row['model']}/{row['optimizer']}/{row['batch_control']}/validation_ndcg@10"
                values.append((name, row["best_validation_ndcg@10"]))
        track_means(tracker, values)


def comparison(
    curves: Iterable[Curve], controls: Sequence[str], seeds: Sequence[int], overrides: str
) -> list[dict[str, Any]]:
    """Return a training per model, optimizer at its best scale, control and seed; raise InputError without curves."""
    best = best_scales(curves)
    if not best:
        raise InputError("there are no learning curves to choose from; run the sweep's trainings first")
    return [
        {"model": model, "seed": seed, **_told(optimizer, scale, control, overrides)}
        for (model, optimizer), scale in best.items()
        for control in controls
        for seed in seeds
    ]


def best_scales(curves: Iterable[Curve]) -> dict[tuple[str, str], float]:
    """Return, by model and optimizer, the scale whose training had the highest validation NDCG@10 after any epoch."""
    reached: dict[tuple[str, str], tuple[float, float]] = {}
    for curve in curves:
        value = max(curve.values("ndcg@10", VALIDATION))
        key = (curve.training.model, curve.training.optimizer)
        reached[key] = max(reached.get(key, (-1.0, 0.0)), (value, curve.training.scale))
    return {key: scale for key, (_, scale) in reached.items()}


def _told(optimizer: str, scale: float, control: str, further: str) -> dict[str, str]:
    own = {"optimizer": optimizer, SCALE_SETTINGS[optimizer]: f"{scale:g}", "batch_control": control}
    own |= {"weight_decay": "0"} if optimizer in WITHOUT_DECAY else {}
    overrides = joined_overrides({f"training.{name}": value for name, value in own.items()}, further)
    return {"overrides": overrides, "label": f"{optimizer}-{scale:g}-{control}"}

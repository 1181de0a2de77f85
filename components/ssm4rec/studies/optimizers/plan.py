"""The trainings of an optimizer study: first every optimizer over its scale, then the best of each with every control.

Every optimizer gets the same number of trials, on the same seed and data, chosen between by validation NDCG@10: a tuned
method beside an untuned one would compare the tuning.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, get_args

from ssm4rec.artifacts.curve import VALIDATION, Curve
from ssm4rec.artifacts.names import SCALE_SETTINGS, ControllerName
from ssm4rec.models.table import MODELS
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import names
from ssm4rec.settings.flags import Flag
from ssm4rec.settings.shared import Seeds
from ssm4rec.studies.settings import SHORT, NamedStudy, RecommenderStudy, Row, joined_overrides, refuse_own_settings
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

Training = dict[str, Any]
"""``model``, ``seed``, ``overrides`` and ``label``, as ``train_recommender`` takes them."""

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


def sweep(models: Sequence[str], optimizers: Sequence[str], overrides: str) -> list[Training]:
    """Return a training for each model, optimizer and scale, on seed 0 with fixed batches.

    Raises:
        InputError: an optimizer that there is not, or overrides that set what the study sets.
    """
    for name in optimizers:
        if name not in SCALES:
            raise InputError(f"--optimizers {name}: unknown; choose from {', '.join(SCALES)}")
    own = {f"training.{name}" for name in ("optimizer", "batch_control", *map(SCALE_SETTINGS.__getitem__, optimizers))}
    refuse_own_settings("--overrides", overrides, own)
    return [
        {"model": model, "seed": 0, **_told(optimizer, scale, "fixed", overrides)}
        for model in models
        for optimizer in optimizers
        for scale in SCALES[optimizer]
    ]


def comparison(
    curves: Iterable[Curve], controls: Sequence[str], seeds: Sequence[int], overrides: str
) -> list[Training]:
    """Return a training for each model, optimizer at its best scale, batch control and seed.

    Args:
        curves: of the trainings of a sweep.
        controls: batch controls.
        seeds: of the trainings.
        overrides: as of the sweep.

    Raises:
        InputError: there are no curves.
    """
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
        value = max(curve.values("ndcg_10", VALIDATION))
        key = (curve.training.model, curve.training.optimizer)
        reached[key] = max(reached.get(key, (-1.0, 0.0)), (value, curve.training.scale))
    return {key: scale for key, (_, scale) in reached.items()}


def _told(optimizer: str, scale: float, control: str, further: str) -> dict[str, str]:
    own = {"optimizer": optimizer, SCALE_SETTINGS[optimizer]: f"{scale:g}", "batch_control": control}
    own |= {"weight_decay": "0"} if optimizer in WITHOUT_DECAY else {}
    overrides = joined_overrides({f"training.{name}": value for name, value in own.items()}, further)
    return {"overrides": overrides, "label": f"{optimizer}-{scale:g}-{control}"}

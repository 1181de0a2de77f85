"""What the settings of several studies have in common.

A field annotated with a :class:`~ssm4rec.settings.flags.Flag` is a flag of ``pipelines.run`` and
``pipelines.submit``, a variable of ``make`` and a parameter of the study's pipeline; one that is ``planned`` becomes
the pipeline's lists of what to train (:meth:`StudySettings.lists`).
"""

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Annotated, Any, ClassVar, Final

from ssm4rec.artifacts.earlier_names import override_of_today
from ssm4rec.data.data_sets import check_columns_suit, data_set_name
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.overrides import overrides_of_today
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import names, one_of, seeds, whole_number
from ssm4rec.settings.data import AS_PROFILE, DatasetName, Source, StudyData
from ssm4rec.settings.flags import Flag, described
from ssm4rec.settings.outputs import kept_folder
from ssm4rec.settings.shared import Compile, Device, Kernels, LanguageModelVersion, Precision, Profile
from ssm4rec.tracking import Tracker

Row = dict[str, Any]
"""Of results.json."""

Lists = dict[str, list[dict[str, Any]]]
"""What to train, by the name of the pipeline's parameter."""

PlannedModels = Annotated[
    tuple[str, ...], Flag(f"recommenders to train, of {', '.join(MODELS)}", names(MODELS), planned=True)
]
PlannedSeeds = Annotated[tuple[int, ...], Flag("seeds to train each with, separated by commas", seeds, planned=True)]

SHORT: Final = "training.epochs=12,training.patience=12"
"""Changes to the recipe by which a study of some fifty trainings stays under 40 minutes of CPU on ML-100K."""


SMOKE_USERS: Final = 1_000
"""Drawn by a study with profile smoke, so that it takes three minutes at most of any data."""


@dataclass(frozen=True, kw_only=True)
class StudySettings(Source, ABC):
    """What every study has; the class's docstring is the study's description.

    ``SUMMARY`` is what of its results is shown at the end: ``verdict``, the report's first section, or ``table``.
    """

    GROUP: ClassVar[str] = "training"
    PACKAGE: ClassVar[str]
    SUMMARY: ClassVar[str] = "verdict"

    device: Device = "auto"
    checkpoint_dir: Annotated[str, Flag("folder of checkpoints that outlives a task", kept_folder)] = ""

    @abstractmethod
    def lists(self) -> Lists:
        """Return the lists over which the pipeline loops; raise InputError if settings do not fit each other."""

    def arguments(self) -> dict[str, Any]:
        """Return the pipeline's arguments; raise InputError if settings do not fit each other."""
        passed = [one for one in described(type(self)) if isinstance(one.note, Flag) and not one.note.planned]
        values = {one.name: one.as_argument(getattr(self, one.name)) for one in passed}
        return {**values, **self.lists()}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log the study's numbers to its MLflow run."""


@dataclass(frozen=True, kw_only=True)
class NamedStudy(StudySettings, StudyData):
    """A study of a data set by choice."""

    dataset: DatasetName = "ml-100k"
    profile: Profile = "quick"

    def arguments(self) -> dict[str, Any]:
        """Return the pipeline's arguments; raise InputError if the data set's name is none."""
        by_profile = SMOKE_USERS if self.profile == "smoke" else 0
        users = by_profile if self.draw_users == AS_PROFILE else self.draw_users
        name = data_set_name(self.dataset, self.name, self.source)
        values = {**super().arguments(), "name": name, "draw_users": users}
        check_columns_suit(self.dataset, values)
        return values


@dataclass(frozen=True, kw_only=True)
class RecommenderStudy(StudySettings):
    """A study that trains recommenders."""

    precision: Precision = "auto"
    kernels: Kernels = "auto"
    compile: Compile = False
    gpus: Annotated[
        int, Flag("GPUs of one node, for each training; as many processes share its batches", whole_number(1), str)
    ] = 1

    def arguments(self) -> dict[str, Any]:
        """Return the pipeline's arguments, overrides with the names of today: warned of here, not by every training."""
        return {name: _of_today(name, value) for name, value in super().arguments().items()}


@dataclass(frozen=True, kw_only=True)
class LanguageModelStudy(NamedStudy):
    """A study of language models alone, which rank what one recommender finds."""

    retriever: Annotated[
        str, Flag(f"recommender whose candidates are ranked, of {', '.join(MODELS)}", one_of(MODELS))
    ] = "lrurec"
    language_model_version: LanguageModelVersion = ""


def track_means(tracker: Tracker, values: Iterable[tuple[str, float]]) -> None:
    """Log the mean of each number over its rows, one per seed, as reports show it; tasks' runs have those of a seed."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for name, value in values:
        by_name[name].append(value)
    tracker.metrics({name: fmean(found) for name, found in by_name.items()})


def _of_today(name: str, value: Any) -> Any:
    if name == "overrides":
        return overrides_of_today(value)
    if isinstance(value, dict):
        return {key: _of_today(key, one) for key, one in value.items()}
    return [_of_today("", one) for one in value] if isinstance(value, list) else value


def refuse_own_settings(flag: str, overrides: str, own: Collection[str], way_out: str = "leave it out") -> None:
    """Raise InputError if overrides set what a study sets: its labels would say one thing, its trainings do another."""
    for pair in overrides.split(","):
        if (name := override_of_today(pair.partition("=")[0].strip())) in own:
            raise InputError(f"{flag} {overrides}: {name} is what this study sets; {way_out}")


def joined_overrides(own: Mapping[str, object], further: str) -> str:
    """Return a study's own changes to a recipe, and then the user's.

    >>> joined_overrides({"training.epochs": 3}, "model.dropout=0.1"), joined_overrides({"training.epochs": 3}, "")
    ('training.epochs=3,model.dropout=0.1', 'training.epochs=3')
    """
    return ",".join([*(f"{name}={value}" for name, value in own.items()), *filter(None, [further])])

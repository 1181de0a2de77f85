"""The compiled pipelines: which one fits a study, and its file, committed or compiled for other images."""

from pathlib import Path
from typing import Any, Final

import ssm4rec.stages
from ssm4rec.runtime.compile_variables import COMPILE_VARIABLES
from ssm4rec.runtime.errors import InputError

COMPILED: Final = Path(__file__).parent / "compiled"
STAGES: Final = tuple(sorted(path.parent.name for path in Path(ssm4rec.stages.__path__[0]).glob("*/component.py")))
"""Every stage, by the name of its folder, which is that of its component."""

_PARTS: Final = frozenset({"global_time_trainings", "rankers", "generators"})
_LANGUAGE_MODELS: Final = {
    "": ("recommenders, a ranker and generators", ()),
    "_ranker": ("recommenders and a ranker", ("generators", "generator_overrides")),
    "_recommenders": (
        "recommenders alone",
        ("rankers", "ranker", "llm_overrides", "generators", "generator_overrides", "language_model_version"),
    ),
}
_SPLITS: Final = {
    "": ("some trained again on data split by time", ()),
    "_one_split": ("on one split", ("global_time_trainings",)),
}
PACKAGES: Final = {
    f"comparative_study{models}{split}": (f"{trained}, {splitting}", (*without_models, *without_split))
    for models, (trained, without_models) in _LANGUAGE_MODELS.items()
    for split, (splitting, without_split) in _SPLITS.items()
}
"""Of the comparative study: what each compares, and which parameters it goes without, its parts' lists among them."""


def fitting_package(study: str, arguments: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the package whose parts are those with a list in ``arguments`` that is not empty, and its arguments.

    Other studies than the comparative one have one package.

    >>> lists = {"global_time_trainings": [], "rankers": [], "generators": [], "trainings": [{"model": "sasrec"}]}
    >>> fitting_package("comparative_study", lists)
    ('comparative_study_recommenders_one_split', {'trainings': [{'model': 'sasrec'}]})
    """
    if study not in PACKAGES:
        return study, arguments
    empty = {name for name in _PARTS if not arguments[name]}
    for name, (_, left_out) in PACKAGES.items():
        if empty == _PARTS.intersection(left_out):
            return name, {key: value for key, value in arguments.items() if key not in left_out}
    raise InputError("generators are compared in a study that has a ranker, too: name one, or leave both out (--llm)")


def compiled_package(name: str, folder: Path) -> Path:
    """Return the committed file of a pipeline; compiled into ``folder`` where this process chose other images."""
    if not any(variable.given for variable in COMPILE_VARIABLES):
        return COMPILED / f"{name}.yaml"
    from pipelines.compile import compile_package  # which imports the programs that ask

    return compile_package(name, folder)

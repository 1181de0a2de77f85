"""A pipeline's parameters, from the settings of its study, and how tasks take them.

KFP reads a pipeline's parameters from the signature of its function: :func:`study_pipeline` makes one. In the function
they are attributes of a :class:`Parameters`; :func:`task` hands a stage those that are its own settings.
"""

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Final

from kfp import dsl

from pipelines.hardware import A100_80GB, CACHE_FOLDER, GPU_TAINTS, PLACES, VOLUME, Place, put
from ssm4rec.settings.flags import Described, Flag, StageSettings, described
from ssm4rec.settings.kfp_component import parameter_name
from ssm4rec.studies.settings import StudySettings

FOLDERS: Final = {
    "cache_dir": f"{CACHE_FOLDER}/downloads" if VOLUME else "",
    "checkpoint_dir": f"{CACHE_FOLDER}/checkpoints" if VOLUME else "",
}
"""What outlives a task, by default: on a cluster a folder outlives a pod on its volume alone."""


@dataclass(frozen=True)
class PipelineParameter:
    """A parameter's default, which the KFP UI proposes, what it is, and its type."""

    default: Any
    help: str
    type: Any


CLUSTER: Final = {
    "gpu_pool": PipelineParameter(A100_80GB, "labels of the nodes for GPU stages", dict[str, str]),
    "gpu_toleration": PipelineParameter(GPU_TAINTS, "of those nodes' taints, a list of Kubernetes tolerations", list),
}


class Parameters:
    """A pipeline's parameters as attributes; a list that the pipeline goes without is None."""

    def __init__(self, settings: type[StudySettings], values: Mapping[str, Any]) -> None:
        self._values = values
        self._notes = {one.name: one.note for one in described(settings)}

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"the pipeline has no parameter {name!r}") from None

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def shared(self, one: Described) -> str:
        """Return what the study calls a stage's setting that is its own, too, or "".

        It is said once, by one note, or is a folder for all tasks. A study has another name for it where the stage's
        would mislead: ``data_nodes`` are ``nodes`` of prepare_data, and not of trainings.
        """
        if one.name in FOLDERS or self._notes.get(one.name) is one.note:
            return one.name
        return next((name for name, note in self._notes.items() if note is one.note), "")


def task(component: Any, parameters: Parameters, *, place: Place | None = None, **own: Any) -> Any:
    """Return a task of a stage in its place, that of ``PLACES`` by default; ``own``: see :func:`inputs`."""
    made = component(**inputs(component, parameters, **own))
    place = place or PLACES[component.name.replace("-", "_")]
    # A training's nodes are like its task, which follows them: where GPUs are, without holding any.
    gpus = own.get("processes", "1") if own.get("nodes", "1") == "1" else None
    put(made, place, parameters.gpu_pool, parameters.gpu_toleration, gpus)
    return made


def inputs(component: Any, parameters: Parameters, **own: Any) -> dict[str, Any]:
    """Return a task's inputs: what is given, the parameters that are its stage's settings, else the stage's defaults.

    KFP's backend fails at run time on an input that was left out, so that each one is passed. Raise TypeError if the
    pipeline has a parameter of a setting's name that means something else: say which is meant.
    """
    settings: type[StageSettings] = import_module(
        f"ssm4rec.stages.{component.name.replace('-', '_')}.settings"
    ).Settings
    found = dict(own)
    for one in described(settings):
        name = parameter_name(one)
        if not isinstance(one.note, Flag) or name in own:
            continue
        if shared := parameters.shared(one):
            found[name] = getattr(parameters, shared)
        elif one.name in parameters:
            raise TypeError(f"{component.name}: {name} is not the pipeline's parameter of that name; pass one")
        else:
            found[name] = one.as_argument(one.default)
    return found


@dataclass(frozen=True, kw_only=True)
class Package:
    """How a pipeline differs from what its study's settings say.

    Attributes:
        name, description: of the pipeline; empty: of the study's package and the settings'.
        defaults: of parameters.
        left_out: parameters of lists and settings that it goes without.
    """

    name: str = ""
    description: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    left_out: Collection[str] = ()


WHOLE: Final = Package()


def study_pipeline(
    arrange: Callable[[Parameters], object],
    settings: type[StudySettings],
    lists: Mapping[str, str],
    package: Package = WHOLE,
) -> Any:
    """Return a study's pipeline.

    Each setting that is not planned is a parameter. ``lists`` are what the pipeline loops over, and what each is;
    proposed is what the settings plan by themselves. ``arrange`` makes the tasks, and sees None for what the package
    goes without.
    """
    flags = {
        one.name: PipelineParameter(one.as_argument(one.default), one.note.help, one.component_type)
        for one in described(settings)
        if isinstance(one.note, Flag) and not one.note.planned
    }
    loops = {name: PipelineParameter(settings().lists()[name], what, list) for name, what in lists.items()}
    known = {key: one for key, one in {**flags, **loops, **CLUSTER}.items() if key not in package.left_out}
    proposed = {**{key: one.default for key, one in known.items()}, **FOLDERS, **package.defaults}

    def arranged(*values: Any) -> None:
        arrange(Parameters(settings, {**dict.fromkeys(package.left_out), **dict(zip(known, values, strict=True))}))

    arranged.__doc__ = "\n".join(["Arrange.", "", "Args:", *(f"    {key}: {one.help}" for key, one in known.items())])
    arranged.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # which inspect, and so kfp, reads
        [
            inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=one.type, default=proposed[key])
            for key, one in known.items()
        ]
    )
    return dsl.pipeline(
        arranged,
        name=package.name or settings.PACKAGE.replace("_", "-"),
        description=package.description or str(settings.__doc__).partition("\n")[0],
    )

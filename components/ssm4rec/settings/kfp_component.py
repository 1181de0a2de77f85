"""A stage as KFP sees it, made of its settings (``settings.py``)."""

import inspect
from typing import Any, Final, List  # noqa: UP035

from kfp import dsl

from ssm4rec.runtime.images import IMAGES
from ssm4rec.settings.flags import Described, ExecutorInput, Flag, Read, Shown, StageSettings, Written, described

_LIST: Final[Any] = List  # noqa: UP006 - from typing, where kfp looks for it
_KINDS: Final = {
    kind.__name__: kind for kind in (dsl.Artifact, dsl.Dataset, dsl.HTML, dsl.Markdown, dsl.Metrics, dsl.Model)
}


def component(settings: type[StageSettings]) -> Any:
    """Return the container component of a stage.

    Every parameter must be given: KFP's backend fails at run time on one that was left out.
    """
    stage = settings.module().rpartition(".")[2]
    found = [one for one in described(settings) if not isinstance(one.note, ExecutorInput)]
    parameters = {parameter_name(one): one for one in sorted(found, key=_place)}

    def container(*values: Any) -> dsl.ContainerSpec:
        given = dict(zip(parameters, values, strict=True))
        args: list[Any] = []
        for one in described(settings):
            match one.note:
                case ExecutorInput():
                    args += [one.flag, dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER]
                case Flag() | Written(kind="list"):
                    args += [one.flag, given[parameter_name(one)]]
                case Written():
                    args += [one.flag, given[parameter_name(one)].path]
                case Read() if not (one.is_list or one.note.optional):
                    # A list's .path is silently that of its first artifact, and there is none of nothing: the stage
                    # reads both from the executor input.
                    args += [one.flag, given[parameter_name(one)].path]
        return dsl.ContainerSpec(image=IMAGES[settings.IMAGE], command=["python", "-m", settings.module()], args=args)

    container.__name__ = container.__qualname__ = stage
    container.__doc__ = "\n".join(
        [str(settings.__doc__).partition("\n")[0], "", "Args:"]
        + [f"    {name}: {one.note.help}" for name, one in parameters.items()]
    )
    container.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # which inspect, and so kfp, reads
        [
            inspect.Parameter(
                name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                annotation=_annotation(one),
                default=None if _may_be_left_out(one) else inspect.Parameter.empty,
            )
            for name, one in parameters.items()
        ],
        return_annotation=dsl.ContainerSpec,
    )
    return dsl.container_component(container)


def parameter_name(one: Described) -> str:
    """Return a field's name in a component."""
    return (one.note.component_name or one.name) if isinstance(one.note, Flag) else one.artifact


def _place(one: Described) -> tuple[bool, ...]:
    """Return what sorts a component's parameters: inputs, flags, outputs, and then what has a default."""
    return _may_be_left_out(one), isinstance(one.note, Written | Shown), isinstance(one.note, Flag)


def _may_be_left_out(one: Described) -> bool:
    return isinstance(one.note, Read) and one.note.optional


def _annotation(one: Described) -> Any:
    match one.note:
        case Read(kind=kind) if one.is_list:
            return dsl.Input[_LIST[_KINDS[kind]]]
        case Read(kind=kind):
            return dsl.Input[_KINDS[kind]]
        case Written(kind="list"):
            return dsl.OutputPath(list)
        case Written(kind=kind):
            return dsl.Output[_KINDS[kind]]
        case Shown():
            return dsl.Output[dsl.Metrics]
        case _:
            return one.component_type

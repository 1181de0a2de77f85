"""The check before anything runs: every stage of a study looks at the flags that the study will give it.

The compiled pipeline and the study's arguments tell each stage's command line. The stage's own parser reads it, and the
stage's ``check`` and ``check_here`` say what else it can know before it has data: there is no second list of what is
allowed. What a stage says of its flag is said of the study's: ``--samples 3`` of measure_latency is
``--latency-samples 3`` of the study.
"""

import functools
import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.flags import StageSettings

_FLAGS: Final = {
    "gpus": "--gpus",
    "trainings.model": "--models",
    "trainings.seed": "--seeds",
    "trainings.profile": "--profiles",
    "trainings.overrides": "--overrides",
    "global_time_trainings.overrides": "--overrides",
    "adapters.overrides": "--llm-overrides",
    "adapters.seed": "--seeds",
    "adapters.language_model": "--language-model",
    "rankers.seed": "--seeds",
    "rankers.language_model": "--language-model",
    "orpo-study rankers.language_model": "--language-models",
    "generators.seed": "--seeds",
}
"""The study's flag behind an entry of a pipeline's list, where it is not called as the entry is; after the name of a
pipeline, of that one only."""

_PLACEHOLDER: Final = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_EXECUTOR_INPUT: Final = "{{$}}"
_FIELD: Final = re.compile(r'parseJson\(string_value\)\["(\w+)"\]')


@dataclass(frozen=True)
class Value:
    """What a task is given, and where the study's user said so: "" if it is a constant of the pipeline."""

    value: Any
    origin: str = ""


@dataclass
class StageCommand:
    """A stage as the pipeline will call it; files of other stages are placeholders in it.

    Attributes:
        pipeline: its name, such as ``orpo-study``.
        stage: its name, such as ``train_recommender``.
        arguments: its command line.
        origins: the pipeline's parameter behind each flag, where there is one.
    """

    pipeline: str
    stage: str
    arguments: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)


def check_study(package: Path, arguments: Mapping[str, Any], *, here: bool) -> None:
    """Refuse arguments that a stage of the pipeline would refuse, before one is started.

    Args:
        package: the compiled pipeline.
        arguments: of the pipeline.
        here: the stages will run as processes of this machine, which must have what they need.

    Raises:
        InputError: the first argument at fault, in one line that names the study's flag.
    """
    seen = set()
    for command in stage_commands(package, arguments):
        key = (command.stage, *command.arguments)
        if key not in seen:
            seen.add(key)
            _check(command, here)


@functools.cache
def read_spec(package: Path) -> dict[str, Any]:
    """Return the first document of a compiled file, the pipeline's."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first is many times as fast
    with package.open(encoding="utf-8") as file:
        document: dict[str, Any] = next(yaml.load_all(file, Loader=loader))
    return document


def stage_commands(package: Path, arguments: Mapping[str, Any]) -> Iterator[StageCommand]:
    """Yield the stages of a compiled pipeline as they will be called; loops over a task's output are left out."""
    spec = read_spec(package)
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    given = {
        name: Value(arguments.get(name, definition.get("defaultValue", "")), name) for name, definition in known.items()
    }
    yield from _tasks(spec, spec["root"], given)


def _tasks(spec: dict[str, Any], component: dict[str, Any], given: Mapping[str, Value]) -> Iterator[StageCommand]:
    for task in component["dag"]["tasks"].values():
        called = spec["components"][task["componentRef"]["name"]]
        for scope in _iterations(task, given):
            inputs = _inputs(task, scope)
            if "dag" in called:
                yield from _tasks(spec, called, inputs)
            else:
                container = spec["deploymentSpec"]["executors"][called["executorLabel"]]["container"]
                yield _command(spec["pipelineInfo"]["name"], container, inputs)


def _iterations(task: dict[str, Any], given: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    """Yield what a task's inputs may refer to: once, or for each entry of a loop's list."""
    if "parameterIterator" not in task:
        yield dict(given)
        return
    iterator = task["parameterIterator"]
    name = iterator["items"].get("inputParameter", "")
    items = _inputs(task, given).get(name, given.get(name, Value(json.loads(iterator["items"].get("raw", "[]")))))
    for entry in items.value:
        yield {**given, iterator["itemInput"]: Value(entry, items.origin)}


def _inputs(task: dict[str, Any], scope: Mapping[str, Value]) -> dict[str, Value]:
    found = {name: value for name, value in scope.items() if name.endswith("-loop-item")}
    for name, source in task.get("inputs", {}).get("parameters", {}).items():
        if "runtimeValue" in source:
            found[name] = Value(source["runtimeValue"]["constant"])
        elif "componentInputParameter" in source:
            value = scope[source["componentInputParameter"]]
            if selector := _FIELD.fullmatch(source.get("parameterExpressionSelector", "")):
                value = Value(value.value[selector[1]], f"{value.origin}.{selector[1]}")
            found[name] = value
        else:  # a task's output, known when it is done
            found[name] = Value([])
    return found


def _command(pipeline: str, container: dict[str, Any], inputs: Mapping[str, Value]) -> StageCommand:
    command = StageCommand(pipeline, container["command"][2].rpartition(".")[2])
    for argument in container["args"]:
        placeholder = _PLACEHOLDER.fullmatch(argument)
        if placeholder:
            value = inputs[placeholder[1]]
            command.origins[command.arguments[-1]] = value.origin
            command.arguments.append(_as_text(value.value))
        else:
            command.arguments.append("" if argument == _EXECUTOR_INPUT else argument)
    return command


def _as_text(value: Any) -> str:
    """Write a parameter as KFP puts it on a command line.

    >>> [_as_text(value) for value in ("a", 3.0, 0.1, True, [1])]
    ['a', '3', '0.1', 'true', '[1]']
    """
    if isinstance(value, float) and value.is_integer():  # numbers of a compiled file are floats
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _check(command: StageCommand, here: bool) -> None:
    settings: type[StageSettings] = importlib.import_module(f"ssm4rec.stages.{command.stage}.settings").Settings
    try:
        told = settings.parser().parse_args(command.arguments)
        told.check()
        if here:
            told.check_here()
    except InputError as error:
        raise InputError(
            re.sub(r"--[a-z][a-z-]*[a-z]", lambda flag: study_flag(command, flag[0]), str(error))
        ) from None


def study_flag(command: StageCommand, flag: str) -> str:
    """Return the study's flag behind one of a stage's, or the stage's where the study has none."""
    origin = command.origins.get(flag, "")
    if not origin:
        return flag
    named = _FLAGS.get(f"{command.pipeline} {origin}") or _FLAGS.get(origin)
    return named or f"--{origin.rpartition('.')[2].replace('_', '-')}"

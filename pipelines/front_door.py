"""The check before anything runs: every stage of a study looks at the flags that the study will give it.

The compiled pipeline and the study's arguments tell each stage's command line. The stage's own parser reads it, and the
stage's ``check`` and ``check_here`` say what else it can know before it has data: there is no second list of what is
allowed. What a stage says of its flag is said of the study's: ``--samples 3`` of measure_latency is
``--latency-samples 3`` of the study.
"""

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pipelines.spec import Document, component_of, container_of, key_read, read_spec, whole
from ssm4rec.data.data_sets import EVENTS
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.flags import StageSettings

_FLAGS: Final = {
    "trainings.model": "--models",
    "trainings.seed": "--seeds",
    "trainings.profile": "--profiles",
    "adapters.overrides": "--llm-overrides",
    "adapters.seed": "--seeds",
    "rankers.seed": "--seeds",
    "orpo-study rankers.language_model": "--language-models",
    "generators.seed": "--seeds",
    "transfers.seed": "--transfer-seeds",
    "transfers.overrides": "--transfer-overrides",
}
"""The study's flag behind an entry of a pipeline's list, where it is not called as the entry is; after the name of a
pipeline, of that one only."""

_PLACEHOLDER: Final = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
_EXECUTOR_INPUT: Final = "{{$}}"


@dataclass(frozen=True)
class Value:
    """What a task is given, and where the study's user said so: "" if it is a constant of the pipeline."""

    value: Any
    origin: str = ""


@dataclass
class StageCommand:
    """A stage as the pipeline will call it; files of other stages are placeholders in its ``arguments``.

    ``origins`` has the pipeline's parameter behind each flag, where there is one.
    """

    pipeline: str
    stage: str
    arguments: list[str] = field(default_factory=list)
    origins: dict[str, str] = field(default_factory=dict)


def check_study(package: Path, arguments: Mapping[str, Any], *, here: bool) -> None:
    """Refuse arguments that a stage of the pipeline would refuse, before one is started.

    ``here``: the stages will run as processes of this machine, which must have what they need. Raise InputError for the
    first argument at fault, in one line that names the study's flag.
    """
    commands: dict[tuple[str, ...], StageCommand] = {}
    for command in stage_commands(package, arguments):
        commands.setdefault((command.stage, *command.arguments), command)
    for command in commands.values():
        _check(command, here)
    source = arguments.get("items_source", "")
    without_titles = source == "none" or (arguments.get("dataset") == EVENTS and not source)
    if without_titles and any(arguments.get(trained) for trained in ("rankers", "generators", "adapters")):
        raise InputError(
            "--items-source: none, and language models read titles; give a file of item ids and titles, or leave "
            "language models out (--llm none, in the comparative study)"
        )


def stage_commands(package: Path, arguments: Mapping[str, Any]) -> Iterator[StageCommand]:
    """Yield the stages of a compiled pipeline as they will be called; loops over a task's output are left out."""
    spec = read_spec(package)
    known = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    given = {
        name: Value(arguments.get(name, definition.get("defaultValue", "")), name) for name, definition in known.items()
    }
    yield from _tasks(spec, spec["root"], given)


def _tasks(spec: Document, component: Document, given: Mapping[str, Value]) -> Iterator[StageCommand]:
    for task in component["dag"]["tasks"].values():
        called = component_of(spec, task)
        for inputs in _iterations(task, given):
            if "dag" in called:
                yield from _tasks(spec, called, inputs)
            else:
                yield _command(spec["pipelineInfo"]["name"], container_of(spec, called), inputs)


def _iterations(task: Document, given: Mapping[str, Value]) -> Iterator[dict[str, Value]]:
    sources = task.get("inputs", {}).get("parameters", {})
    inputs = {name: _input(source, given) for name, source in sources.items()}
    if "parameterIterator" in task:
        iterator = task["parameterIterator"]
        entries = inputs[iterator["items"]["inputParameter"]]
        for entry in entries.value:
            yield {**inputs, iterator["itemInput"]: Value(entry, entries.origin)}
    else:
        yield inputs


def _input(source: Document, given: Mapping[str, Value]) -> Value:
    if "runtimeValue" in source:
        return Value(source["runtimeValue"]["constant"])
    if "componentInputParameter" not in source:
        return Value([])  # a task's output, known when it is done
    value = given[source["componentInputParameter"]]
    key = key_read(source)
    return Value(value.value[key], f"{value.origin}.{key}") if key else value


def _command(pipeline: str, container: Document, inputs: Mapping[str, Value]) -> StageCommand:
    command = StageCommand(pipeline, container["command"][2].rpartition(".")[2])
    for argument in container["args"]:
        placeholder = _PLACEHOLDER.fullmatch(argument)
        if placeholder:
            value = inputs[placeholder[1]]
            command.origins[command.arguments[-1]] = value.origin
            text = value.value if isinstance(value.value, str) else json.dumps(whole(value.value))  # as KFP writes it
            command.arguments.append(text)
        else:
            command.arguments.append("" if argument == _EXECUTOR_INPUT else argument)
    return command


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

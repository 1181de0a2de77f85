"""A compiled pipeline as KFP reads it: its document, and the loops in it."""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Document = dict[str, Any]


@functools.cache
def read_documents(package: Path) -> tuple[Document, Document]:
    """Return both documents of a compiled file: the pipeline's, and what its tasks ask of Kubernetes."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the first is many times as fast
    with package.open(encoding="utf-8") as file:
        spec, platforms = yaml.load_all(file, Loader=loader)
    return spec, platforms


def read_spec(package: Path) -> Document:
    """Return the first document of a compiled file, the pipeline's."""
    return read_documents(package)[0]


def component_of(spec: Document, task: Document) -> Document:
    """Return what a task runs: a component with a ``dag`` if it is a loop, else one of a stage."""
    found: Document = spec["components"][task["componentRef"]["name"]]
    return found


def container_of(spec: Document, component: Document) -> Document:
    """Return the container of a stage's component: image, command and args."""
    found: Document = spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]
    return found


def whole(value: Any) -> Any:
    """Return a value with its whole numbers as such: in a compiled file all numbers are floats.

    >>> whole([{"seed": 0.0, "dropout": 0.1}, "3.0"])
    [{'seed': 0, 'dropout': 0.1}, '3.0']
    """
    return json.loads(
        json.dumps(value), parse_float=lambda text: int(text[:-2]) if text.endswith(".0") else float(text)
    )


@dataclass(frozen=True)
class Loop:
    """A loop of a compiled pipeline.

    ``parameter``: the pipeline's, of the list that it goes over; "" where a task makes the list. ``entry``: what an
    entry of the list is called in the loop.
    """

    parameter: str
    entry: str
    tasks: Document


def loops(spec: Document) -> dict[str, Loop]:
    """Return the loops of a compiled pipeline by name."""
    found = {}
    for name, task in spec["root"]["dag"]["tasks"].items():
        if "parameterIterator" in task:
            iterator = task["parameterIterator"]
            source = task["inputs"]["parameters"][iterator["items"]["inputParameter"]]
            tasks = component_of(spec, task)["dag"]["tasks"]
            found[name] = Loop(source.get("componentInputParameter", ""), iterator["itemInput"], tasks)
    return found


def key_read(source: Document) -> str:
    """Return the key that a task's input reads from an entry of a loop's list, "" if it takes a whole value."""
    found = re.fullmatch(r'parseJson\(string_value\)\["(.+)"\]', source.get("parameterExpressionSelector", ""))
    return found[1] if found else ""


def argument(spec: Document, arguments: Mapping[str, Any], parameter: str) -> Any:
    """Return what a parameter is in a run: the argument, else the pipeline's default."""
    return arguments.get(parameter, spec["root"]["inputDefinitions"]["parameters"][parameter].get("defaultValue"))


def side_by_side(spec: Document, arguments: Mapping[str, Any]) -> dict[str, int]:
    """Return how many tasks of each stage a loop may run at a time, by the stage's module.

    A list that a task makes is not known yet: two, the most that kfp.local runs.
    """
    found: dict[str, int] = {}
    for loop in loops(spec).values():
        entries = len(argument(spec, arguments, loop.parameter)) if loop.parameter else 2
        for task in loop.tasks.values():
            module = container_of(spec, component_of(spec, task))["command"][2]
            found[module] = max(entries, found.get(module, 0))
    return found

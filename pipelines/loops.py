"""What KFP's backend asks of the lists that a pipeline loops over, checked before a run is submitted.

Over an empty list nothing runs, and a task that collects the loop's outputs fails once all else has run
(kubeflow/pipelines 2.17.0, backend/src/v2/driver/resolve.go:752 and :774). An entry without a key that the loop's tasks
read fails in the driver ("no such key"); one that nothing reads would be ignored in silence.
"""

import re
from collections.abc import Iterator
from typing import Any

from ssm4rec.runtime.errors import InputError

Document = dict[str, Any]


def looped_parameters(spec: Document) -> dict[str, set[str]]:
    """Return the pipeline parameters that a compiled pipeline loops over, each with the keys read from its entries."""
    found = {}
    for task in spec["root"]["dag"]["tasks"].values():
        if "parameterIterator" not in task:
            continue
        iterator = task["parameterIterator"]
        source = task["inputs"]["parameters"][iterator["items"]["inputParameter"]]
        if "componentInputParameter" in source:  # else a task makes the list
            body = spec["components"][task["componentRef"]["name"]]["dag"]
            found[source["componentInputParameter"]] = set(_keys(body, iterator["itemInput"]))
    return found


def _keys(body: Document, entry: str) -> Iterator[str]:
    """Yield the keys that the tasks of a loop read from an entry."""
    for task in body["tasks"].values():
        for source in task.get("inputs", {}).get("parameters", {}).values():
            if source.get("componentInputParameter") == entry:
                yield from re.findall(r'^parseJson\(string_value\)\["(.+)"\]$', source["parameterExpressionSelector"])


def check_loops(spec: Document, arguments: dict[str, Any]) -> None:
    """Check the lists that a compiled pipeline loops over: those of ``arguments``, else the pipeline's defaults.

    Raises:
        InputError: one is empty, or an entry lacks a key or has one that nothing reads.
    """
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    for name, keys in looped_parameters(spec).items():
        entries = arguments.get(name, parameters[name].get("defaultValue"))
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{name}: {entries!r}: name at least one; a package without this part has no such list")
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or set(entry) != keys:
                raise InputError(f"{name}, entry {number}: {entry!r}: it has the keys {', '.join(sorted(keys))}")


def loops_over_results(spec: Document) -> bool:
    """Return whether a compiled pipeline loops over a list that a task makes: how many tasks it has is not known."""
    loops = [task for task in spec["root"]["dag"]["tasks"].values() if "parameterIterator" in task]
    sources = [loop["inputs"]["parameters"][loop["parameterIterator"]["items"]["inputParameter"]] for loop in loops]
    return any("taskOutputParameter" in source for source in sources)


def side_by_side(spec: Document, arguments: dict[str, Any]) -> dict[str, int]:
    """Return how many tasks of each stage a loop of a compiled pipeline may run at a time, by the stage's name.

    A list that a task makes is not known yet: two, the most that kfp.local runs.
    """
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    found: dict[str, int] = {}
    for loop in spec["root"]["dag"]["tasks"].values():
        if "parameterIterator" not in loop:
            continue
        source = loop["inputs"]["parameters"][loop["parameterIterator"]["items"]["inputParameter"]]
        name = source.get("componentInputParameter", "")
        entries = len(arguments.get(name, parameters[name].get("defaultValue", ()))) if name else 2
        for task in spec["components"][loop["componentRef"]["name"]]["dag"]["tasks"].values():
            label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
            stage = spec["deploymentSpec"]["executors"][label]["container"]["command"][2].rpartition(".")[2]
            found[stage] = max(entries, found.get(stage, 0))
    return found

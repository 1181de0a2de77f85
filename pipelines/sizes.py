"""How large what KFP hands to a task becomes, checked before a run is submitted.

A task that collects the artifacts of a loop gets all of them in its executor input, one argument of its command. Linux
starts no program with an argument of 131,072 bytes or more (MAX_ARG_STRLEN, include/uapi/linux/binfmts.h), so a study
of too many trainings would end without a report. Measured on the protocol buffers (tests/pipelines/test_sizes.py).
"""

from typing import Any, Final

from pipelines.loops import Document
from ssm4rec.runtime.errors import InputError

ARGUMENT_BYTES: Final = 131_072
ARTIFACT_BYTES: Final = 900
"""Of one artifact in an executor input: type, address, and what the backend adds, such as how to reach the store."""
_REST_BYTES: Final = 4_096
"""Of an executor input, all but its artifacts."""


def executor_input_bytes(spec: Document, arguments: dict[str, Any]) -> dict[str, int]:
    """Return the modelled size of the executor input of each task at the top of a compiled pipeline.

    Args:
        spec: the compiled pipeline.
        arguments: of the run; what is missing has the pipeline's default.
    """
    tasks = spec["root"]["dag"]["tasks"]
    sizes = {}
    for name, task in tasks.items():
        component = spec["components"][task["componentRef"]["name"]]
        if "executorLabel" not in component:
            continue
        inputs = task.get("inputs", {}).get("artifacts", {}).values()
        artifacts = sum(
            _count(spec, tasks, source["taskOutputArtifact"]["producerTask"], arguments) for source in inputs
        )
        artifacts += len(component.get("outputDefinitions", {}).get("artifacts", {}))
        sizes[name] = _REST_BYTES + ARTIFACT_BYTES * artifacts
    return sizes


def _count(spec: Document, tasks: Document, producer: str, arguments: dict[str, Any]) -> int:
    """Return how many artifacts an input is: one, or one for each entry of a loop's list."""
    task = tasks[producer]
    if "parameterIterator" not in task:
        return 1
    source = task["inputs"]["parameters"][task["parameterIterator"]["items"]["inputParameter"]]
    if "componentInputParameter" not in source:
        return 1  # a task makes the list: known when it has run
    parameter = source["componentInputParameter"]
    return len(arguments.get(parameter, spec["root"]["inputDefinitions"]["parameters"][parameter]["defaultValue"]))


def check_sizes(spec: Document, arguments: dict[str, Any]) -> None:
    """Refuse a run in which a task could not be started.

    Raises:
        InputError: a task collects too many artifacts.
    """
    for task, size in executor_input_bytes(spec, arguments).items():
        if size >= ARGUMENT_BYTES:
            raise InputError(
                f"task {task} would get {size:,} bytes of input, and no program starts with {ARGUMENT_BYTES:,} or "
                "more: train fewer models or seeds in one run, and report them in several"
            )

"""What KFP's backend asks of a run, checked before it is submitted.

Over an empty list nothing runs, and a task that collects the loop's outputs fails once all else has run
(kubeflow/pipelines 2.17.0, backend/src/v2/driver/resolve.go:752 and :774). An entry without a key that the loop's tasks
read fails in the driver ("no such key"); one that nothing reads would be ignored in silence.

A task that collects the artifacts of a loop gets all of them in its executor input, one argument of its command. Linux
starts no program with an argument of 131,072 bytes or more (MAX_ARG_STRLEN, include/uapi/linux/binfmts.h), so a study
of too many trainings would end without a report. Measured on the protocol buffers (tests/pipelines/test_sizes.py).
"""

from collections.abc import Mapping
from typing import Any, Final

from pipelines.spec import Document, Loop, argument, component_of, key_read, loops
from ssm4rec.runtime.errors import InputError

ARGUMENT_BYTES: Final = 131_072
ARTIFACT_BYTES: Final = 900
"""Of one artifact in an executor input: type, address, and what the backend adds, such as how to reach the store."""
_REST_BYTES: Final = 4_096
"""Of an executor input, all but its artifacts."""


def check_loops(spec: Document, arguments: Mapping[str, Any]) -> None:
    """Check the lists that a compiled pipeline loops over: those of ``arguments``, else the pipeline's defaults.

    Raise InputError if one is empty, or an entry lacks a key or has one that nothing reads.
    """
    for loop in (loop for loop in loops(spec).values() if loop.parameter):
        name, keys = loop.parameter, _keys(loop)
        entries = argument(spec, arguments, name)
        if not isinstance(entries, list) or not entries:
            raise InputError(f"{name}: {entries!r}: name at least one; a package without this part has no such list")
        for number, entry in enumerate(entries, 1):
            if not isinstance(entry, dict) or set(entry) != keys:
                raise InputError(f"{name}, entry {number}: {entry!r}: it has the keys {', '.join(sorted(keys))}")


def _keys(loop: Loop) -> set[str]:
    sources = [source for task in loop.tasks.values() for source in task["inputs"].get("parameters", {}).values()]
    return {key_read(source) for source in sources if source.get("componentInputParameter") == loop.entry}


def check_sizes(spec: Document, arguments: Mapping[str, Any]) -> None:
    """Refuse a run in which a task could not be started; raise InputError if a task collects too many artifacts."""
    for task, size in executor_input_bytes(spec, arguments).items():
        if size >= ARGUMENT_BYTES:
            raise InputError(
                f"task {task} would get {size:,} bytes of input, and no program starts with {ARGUMENT_BYTES:,} or "
                "more: train fewer models or seeds in one run, and report them in several"
            )


def executor_input_bytes(spec: Document, arguments: Mapping[str, Any]) -> dict[str, int]:
    """Return the modelled size of the executor input of each task at the top of a compiled pipeline."""
    known = loops(spec)
    # An artifact is one, or one for each entry of a loop's list; a list that a task makes is known when it has run.
    copies = {name: len(argument(spec, arguments, loop.parameter)) for name, loop in known.items() if loop.parameter}
    sizes = {}
    for name, task in spec["root"]["dag"]["tasks"].items():
        if name not in known:
            inputs = task.get("inputs", {}).get("artifacts", {}).values()
            artifacts = sum(copies.get(source["taskOutputArtifact"]["producerTask"], 1) for source in inputs)
            artifacts += len(component_of(spec, task).get("outputDefinitions", {}).get("artifacts", {}))
            sizes[name] = _REST_BYTES + ARTIFACT_BYTES * artifacts
    return sizes

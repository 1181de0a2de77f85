"""A picture and the parameters of each compiled pipeline, drawn from its document: ``compiled/README.md``."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pipelines.spec import Document, component_of, container_of, read_documents, read_spec, whole

_LONGEST_DEFAULT: Final = 150

_HEAD = """\
# The compiled pipelines

`make compile` writes this folder from `pipelines/*.py`: the YAML files, which the KFP UI takes ("Upload pipeline"), and
the pictures and parameters of the studies below. A frame is a loop, an arrow an artifact; a task names its image and
where it may run.

What is in a study is decided when it is compiled: KFP's backend fails a run in which a list of trainings is empty. So
the comparative study has a package for each choice of its parts; `make run` and `make submit` take the one that fits.

| package | what it does |
| --- | --- |
"""


def picture(compiled: Path) -> str:
    """Return a compiled pipeline's flowchart, in Mermaid's language, below a heading."""
    spec, platforms = read_documents(compiled)
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    lines = [*_nodes(spec, executors, spec["root"]["dag"], "    "), *sorted(_edges(spec, spec["root"]["dag"], {}))]
    head = ["", f"## {spec['pipelineInfo']['name']}", "", "```mermaid", "flowchart LR", *lines, "```", ""]
    return "\n".join([*head, *_parameters(spec), ""])


def _parameters(spec: Document) -> Iterator[str]:
    yield "| parameter | default | what it is |"
    yield "| --- | --- | --- |"
    for name, one in spec["root"]["inputDefinitions"]["parameters"].items():
        default, words = whole(one.get("defaultValue", "")), " ".join(one["description"].split())
        shown = f"`{json.dumps(default)}`" if default != "" else ""
        if len(shown) > _LONGEST_DEFAULT:
            shown = f"{len(default)} entries, such as `{json.dumps(default[0])}`"
        yield f"| `{name}` | {shown} | {words} |".replace("\\|", "|")


def write_pictures(folder: Path, drawn: list[Path], compiled: list[Path]) -> None:
    """Write a README next to compiled pipelines: a list of all, with what each says first of itself; some pictures."""
    text = _HEAD
    for file in compiled:
        said = read_spec(file)["pipelineInfo"]["description"].partition(". ")[0].rstrip(".")
        text += f"| [{file.name}]({file.name}) | {said} |\n"
    (folder / "README.md").write_text(text + "".join(picture(file) for file in drawn), encoding="utf-8")


def _nodes(spec: Document, executors: Document, dag: Document, indent: str) -> Iterator[str]:
    for name, task in sorted(dag["tasks"].items()):
        component = component_of(spec, task)
        if "dag" in component:
            yield f'{indent}subgraph {name}["for each of {_looped(task)[1]}, side by side"]'
            yield from _nodes(spec, executors, component["dag"], indent + "    ")
            yield f"{indent}end"
        else:
            place = "GPU pool" if "nodeSelector" in executors[component["executorLabel"]] else "CPU node"
            yield f'{indent}{name}["<b>{name}</b><br/>{container_of(spec, component)["image"]}<br/>{place}"]'


def _looped(task: Document) -> tuple[str, str]:
    """Return the task that makes what a loop goes over, "" for a pipeline's parameter, and the name of that."""
    parameter = task["parameterIterator"]["items"]["inputParameter"]
    output = task["inputs"]["parameters"][parameter].get("taskOutputParameter")
    return (output["producerTask"], output["outputParameterKey"]) if output else ("", parameter.rpartition("--")[2])


def _edges(spec: Document, dag: Document, outer: dict[str, tuple[str, str]]) -> Iterator[str]:
    """Yield an arrow per artifact and consumer of a graph; ``outer``: the makers of its own inputs, see ``_maker``."""
    for name, task in dag["tasks"].items():
        component = component_of(spec, task)
        sources = task.get("inputs", {}).get("artifacts", {})
        made = {key: _maker(spec, dag, source, outer) for key, source in sources.items()}
        if "dag" in component:
            yield from _edges(spec, component["dag"], made)
        arrows = [_looped(task)] if "dag" in component else made.values()
        yield from (f"    {maker} -- {output} --> {name}" for maker, output in arrows if maker)


def _maker(spec: Document, dag: Document, source: Document, outer: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """Return the task that makes an artifact, down to inside a loop that collects it, and the artifact's name there."""
    if "componentInputArtifact" in source:
        return outer[source["componentInputArtifact"]]
    producer, key = source["taskOutputArtifact"]["producerTask"], source["taskOutputArtifact"]["outputArtifactKey"]
    component = component_of(spec, dag["tasks"][producer])
    if "dag" not in component:
        return producer, key
    (selector,) = component["dag"]["outputs"]["artifacts"][key]["artifactSelectors"]
    return selector["producerSubtask"], selector["outputArtifactKey"]

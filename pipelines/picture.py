"""A picture and the parameters of each compiled pipeline, for forges and editors: ``compiled/README.md``.

It is drawn from the compiled documents, so that it shows what a cluster gets: tasks with image and place, the
artifacts that go from one to the next, and loops as frames.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

Document = dict[str, Any]

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
    spec, platforms = yaml.safe_load_all(compiled.read_text(encoding="utf-8"))
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    lines = [*_nodes(spec, executors, spec["root"]["dag"], "    "), *sorted(_edges(spec, spec["root"]["dag"], {}))]
    head = ["", f"## {spec['pipelineInfo']['name']}", "", "```mermaid", "flowchart LR", *lines, "```", ""]
    return "\n".join([*head, *_parameters(spec), ""])


def _parameters(spec: Document) -> Iterator[str]:
    """Yield the lines of a table of a pipeline's parameters."""
    yield "| parameter | default | what it is |"
    yield "| --- | --- | --- |"
    for name, one in spec["root"]["inputDefinitions"]["parameters"].items():
        default, words = _whole(one.get("defaultValue", "")), " ".join(one["description"].split())
        shown = f"`{json.dumps(default)}`" if default != "" else ""
        if len(shown) > _LONGEST_DEFAULT:
            shown = f"{len(default)} entries, such as `{json.dumps(default[0])}`"
        yield f"| `{name}` | {shown} | {words} |".replace("\\|", "|")


def write_pictures(folder: Path, drawn: list[Path], compiled: list[Path]) -> Path:
    """Write a README next to compiled pipelines: a list of all of them, and pictures of some. Return its path."""
    path = folder / "README.md"
    listed = "".join(f"| [{file.name}]({file.name}) | {_description(file)} |\n" for file in compiled)
    path.write_text(_HEAD + listed + "".join(picture(file) for file in drawn), encoding="utf-8")
    return path


def _whole(value: Any) -> Any:
    """Return a value with its whole numbers as such: in a compiled file all numbers are floats."""
    if isinstance(value, list):
        return [_whole(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _whole(entry) for key, entry in value.items()}
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _description(compiled: Path) -> str:
    """Return the first sentence of what a pipeline says of itself."""
    spec = next(yaml.safe_load_all(compiled.read_text(encoding="utf-8")))
    return str(spec["pipelineInfo"]["description"].partition(". ")[0].rstrip("."))


def _component(spec: Document, task: Document) -> Document:
    found: Document = spec["components"][task["componentRef"]["name"]]
    return found


def _nodes(spec: Document, executors: Document, dag: Document, indent: str) -> Iterator[str]:
    for name, task in sorted(dag["tasks"].items()):
        component = _component(spec, task)
        if "dag" in component:
            yield f'{indent}subgraph {name}["for each of {_items(task)}, side by side"]'
            yield from _nodes(spec, executors, component["dag"], indent + "    ")
            yield f"{indent}end"
        else:
            label = component["executorLabel"]
            container = spec["deploymentSpec"]["executors"][label]["container"]
            place = "GPU pool" if "nodeSelector" in executors[label] else "CPU node"
            yield f'{indent}{name}["<b>{name}</b><br/>{container["image"]}<br/>{place}"]'


def _items(task: Document) -> str:
    """Return the name of what a loop goes over: a pipeline's parameter, or a task's output."""
    parameter: str = task["parameterIterator"]["items"]["inputParameter"]
    made: str = _maker_of_items(task)[1]
    return made or parameter.rpartition("--")[2]


def _maker_of_items(task: Document) -> tuple[str, str]:
    """Return the task that makes what a loop goes over, and the output's name; ('', '') for a pipeline's parameter."""
    if "parameterIterator" not in task:
        return "", ""
    source = task["inputs"]["parameters"][task["parameterIterator"]["items"]["inputParameter"]]
    output = source.get("taskOutputParameter", {})
    return output.get("producerTask", ""), output.get("outputParameterKey", "")


def _edges(spec: Document, dag: Document, outer: dict[str, tuple[str, str]]) -> Iterator[str]:
    """Yield an arrow per artifact and consumer.

    Args:
        spec: the whole pipeline.
        dag: one of its graphs.
        outer: of the graph's own inputs, the task outside that makes each, and the artifact's name there.
    """
    for name, task in dag["tasks"].items():
        component = _component(spec, task)
        made = {key: _maker(spec, dag, source, outer) for key, source in _artifacts(task)}
        maker, output = _maker_of_items(task)
        if maker:
            yield f"    {maker} -- {output} --> {name}"
        if "dag" in component:
            yield from _edges(spec, component["dag"], made)
        else:
            yield from (f"    {maker} -- {artifact} --> {name}" for maker, artifact in made.values())


def _artifacts(task: Document) -> Iterator[tuple[str, Document]]:
    yield from task.get("inputs", {}).get("artifacts", {}).items()


def _maker(spec: Document, dag: Document, source: Document, outer: dict[str, tuple[str, str]]) -> tuple[str, str]:
    """Return the task that makes an artifact, down to inside a loop that collects it, and the artifact's name there."""
    if "componentInputArtifact" in source:
        return outer[source["componentInputArtifact"]]
    producer, key = source["taskOutputArtifact"]["producerTask"], source["taskOutputArtifact"]["outputArtifactKey"]
    component = _component(spec, dag["tasks"][producer])
    if "dag" not in component:
        return producer, key
    (selector,) = component["dag"]["outputs"]["artifacts"][key]["artifactSelectors"]
    return selector["producerSubtask"], selector["outputArtifactKey"]

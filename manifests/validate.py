"""Render every overlay and check it: ``python manifests/validate.py [--write]``.

Checked are Kubernetes' schemas (strictly), references to secrets, volumes and the like, a linter's rules, and that
``rendered/`` holds what the overlays render to. Exit status 0: all is well. 2: one line on stderr per problem.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

MANIFESTS: Final = Path(__file__).resolve().parent
RENDERINGS: Final = {
    **{name: f"overlays/{name}" for name in ("kind", "a100", "kind-login", "a100-login")},
    "nodes": "nodes",
    "trainjob": "trainjob",
    "serving": "serving",
    "serving-users": "serving-users",
}
"""Names in rendered/ and what they render."""

BESIDE: Final = {"nodes": ("a100",), "trainjob": ("a100", "nodes"), "serving": ("a100",), "serving-users": ("a100",)}
"""What a rendering is applied in addition to."""

KUBERNETES: Final = "1.32"  # the version whose schemas hold

SCHEMAS: Final = ("trainjob/schema.yaml", "nodes/schema-ray.yaml", "serving/schema.yaml")
"""Of kinds that are not Kubernetes' own."""

REFERENCES: Final = {
    "secretRef": ("Secret", "name"),
    "secretKeyRef": ("Secret", "name"),
    "secret": ("Secret", "secretName"),
    "configMapRef": ("ConfigMap", "name"),
    "configMapKeyRef": ("ConfigMap", "name"),
    "configMap": ("ConfigMap", "name"),
    "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    "runtimeRef": ("", "name"),
    "roleRef": ("", "name"),
}
"""Fields that refer to something: its kind (or it says so itself) and where its name stands."""

_OF_KSERVE: Final = ("minReplicas", "maxReplicas", "labels", "annotations", "deploymentStrategy")
"""Fields of a predictor that are no Pod's."""

Document = dict[str, Any]
Definitions = dict[tuple[str, str], set[str]]


class ManifestError(Exception):
    """What keeps the manifests from being checked at all, in one line with the way out."""


def render(folder: Path) -> str:
    """Return what kustomize makes of a folder."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        raise ManifestError("kubectl is missing; install it from https://kubernetes.io/docs/tasks/tools/")
    finished = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    if finished.returncode:
        raise ManifestError(f"{folder}: {finished.stderr.strip() or 'kubectl kustomize failed'}".replace("\n", " "))
    return finished.stdout


def parse(text: str) -> list[Document]:
    """Return the documents of a rendering."""
    return [document for document in yaml.safe_load_all(text) if document]


def title(document: Document) -> str:
    """Return how a problem names a document."""
    return f"{document['kind']} {document['metadata']['name']}"


def made_of(document: Document) -> list[Document]:
    """Return what controllers make of a document, nothing of other kinds.

    Trainer makes Jobs of a TrainingRuntime, KubeRay Pods of a RayJob, KServe a Deployment of an InferenceService.
    """
    metadata, spec = document["metadata"], document.get("spec", {})
    found: dict[str, tuple[str, str, Document, Document]] = {}
    if document["kind"] == "InferenceService":
        predictor = spec["predictor"]
        labels = predictor["labels"]
        pod = {name: value for name, value in predictor.items() if name not in _OF_KSERVE}
        own = {"template": {"metadata": {"labels": labels}, "spec": pod}, "selector": {"matchLabels": labels}}
        strategy = {"strategy": predictor["deploymentStrategy"]} if "deploymentStrategy" in predictor else {}
        found = {"predictor": ("apps/v1", "Deployment", {}, own | strategy)}
    elif document["kind"] == "TrainingRuntime":
        jobs = {job["name"]: job["template"]["spec"] for job in spec["template"]["spec"]["replicatedJobs"]}
        found = {name: ("batch/v1", "Job", {}, of_it) for name, of_it in jobs.items()}
    elif document["kind"] == "RayJob":
        cluster = spec["rayClusterSpec"]
        groups = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
        groups |= {"head": cluster["headGroupSpec"]["template"], "submitter": spec["submitterPodTemplate"]}
        found = {name: ("v1", "Pod", one["metadata"], one["spec"]) for name, one in groups.items()}
    return [
        {
            "apiVersion": version,
            "kind": kind,
            "metadata": {**own, "name": f"{metadata['name']}-{name}", "namespace": metadata["namespace"]},
            "spec": of_it,
        }
        for name, (version, kind, own, of_it) in found.items()
    ]


def schema_problems(documents: list[Document]) -> Iterator[str]:
    """Yield a line per document that its schema refuses: Kubernetes' own, or ours of kinds that others bring."""
    import jsonschema  # type: ignore[import-untyped]
    import kubernetes_validate  # type: ignore[import-not-found]

    ours = [yaml.safe_load((MANIFESTS / path).read_text()) for path in SCHEMAS]
    schemas = {schema["$id"]: schema for schema in ours}
    for document in documents:
        try:
            if schema := schemas.get(document["apiVersion"]):
                jsonschema.validate(document, {**schema, "$ref": f"#/$defs/{document['kind']}"})
            else:
                kubernetes_validate.validate(document, KUBERNETES, strict=True)
        except jsonschema.ValidationError as error:
            yield f"{title(document)}: {'.'.join(map(str, error.absolute_path))}: {error.message}"
            continue
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{title(document)}: {error.message}"
        yield from schema_problems(made_of(document))


def references(node: Any) -> Iterator[tuple[str, str, str]]:
    """Yield kind, name and key (or nothing, for the whole) of everything a document refers to."""
    for item in node if isinstance(node, list) else ():
        yield from references(item)
    for field, value in node.items() if isinstance(node, dict) else ():
        kind, name_field = REFERENCES.get(field, ("", ""))
        if isinstance(value, dict) and name_field in value:
            yield kind or value.get("kind", "ClusterTrainingRuntime"), value[name_field], value.get("key", "")
        elif field == "serviceAccountName":
            yield "ServiceAccount", value, ""
        yield from references(value)


def definitions(documents: list[Document]) -> Definitions:
    """Return what documents define, by kind and name, with its keys."""
    return {(document["kind"], document["metadata"]["name"]): set(document.get("data", {})) for document in documents}


def secrets(folder: Path) -> Definitions:
    """Return the secrets of ``manifests/secrets`` and its folder ``login``, with the keys that their examples have."""
    found: Definitions = {}
    for place in (folder, folder / "login"):
        for generator in yaml.safe_load((place / "kustomization.yaml").read_text())["secretGenerator"]:
            examples = [(place / f"{env}.example").read_text() for env in generator.get("envs", [])]
            lines = [line for example in examples for line in example.splitlines()]
            keys = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
            found["Secret", generator["name"]] = keys | set(generator.get("files", []))
    return found


def reference_problems(documents: list[Document], outside: Definitions) -> Iterator[str]:
    """Yield a line per reference to what neither the documents nor ``outside`` define."""
    defined = outside | definitions(documents)
    for document in documents:
        for kind, name, key in references(document):
            if (kind, name) not in defined:
                yield f"{title(document)}: {kind} {name} is defined nowhere"
            elif key and key not in defined[kind, name]:
                yield f"{title(document)}: {kind} {name} has no key {key}"


def lint_problems(renderings: dict[str, list[Document]]) -> Iterator[str]:
    """Yield a line per rule of checkov that a rendering breaks."""
    with tempfile.TemporaryDirectory() as folder:
        for name, documents in renderings.items():
            checkable = documents + [one for document in documents for one in made_of(document)]
            Path(folder, f"{name}.yaml").write_text(yaml.safe_dump_all(checkable))
        command = [sys.executable, "-m", "checkov.main", "--config-file", str(MANIFESTS / ".checkov.yaml")]
        command += ["--directory", folder, "--output", "json", "--quiet", "--compact"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        report = json.loads(finished.stdout)
    except json.JSONDecodeError:
        raise ManifestError(f"checkov failed: {(finished.stderr or finished.stdout).strip()[-300:]}") from None
    if report["summary"]["resource_count"] == 0 or report["summary"]["parsing_errors"]:
        raise ManifestError("checkov could not read the renderings")
    for check in report["results"]["failed_checks"]:
        yield f"{Path(check['file_path']).stem}: {check['resource']}: {check['check_id']} {check['check_name']}"


def golden_problems(name: str, text: str, folder: Path) -> Iterator[str]:
    """Yield a line if ``folder`` holds another rendering than ``text``."""
    golden = folder / f"{name}.yaml"
    if not golden.exists() or golden.read_text() != text:
        yield f"rendered/{name}.yaml is not what {RENDERINGS[name]} renders to; python manifests/validate.py --write"


def problems(write: bool) -> list[str]:
    """Return a line per problem of all manifests; with ``write``, replace ``rendered/`` first."""
    texts = {name: render(MANIFESTS / folder) for name, folder in RENDERINGS.items()}
    renderings = {name: parse(text) for name, text in texts.items()}
    found: list[str] = []
    for name, documents in renderings.items():
        if write:
            (MANIFESTS / "rendered" / f"{name}.yaml").write_text(texts[name])
        outside = secrets(MANIFESTS / "secrets")
        for other in BESIDE.get(name, ()):
            outside |= definitions(renderings[other])
        found += [f"{RENDERINGS[name]}: {line}" for line in schema_problems(documents)]
        found += [f"{RENDERINGS[name]}: {line}" for line in reference_problems(documents, outside)]
        found += golden_problems(name, texts[name], MANIFESTS / "rendered")
    # The linter wants documents that are well formed.
    return found or list(lint_problems(renderings))


def main() -> None:
    """Check the manifests from the command line."""
    parser = argparse.ArgumentParser(prog="manifests/validate.py", description="Render every overlay and check it.")
    parser.add_argument("--write", action="store_true", help="replace rendered/ by what the overlays render to")
    options = parser.parse_args()
    try:
        found = problems(options.write)
    except ManifestError as error:
        found = [str(error)]
    except ModuleNotFoundError as error:
        found = [f"the package {error.name} is missing; run this program with `make manifests`"]
    for problem in found:
        sys.stderr.write(f"{parser.prog}: error: {problem}\n")
    if found:
        sys.exit(2)
    sys.stdout.write(f"{', '.join(RENDERINGS)}: schemas of Kubernetes {KUBERNETES}, references and checkov: clean\n")


if __name__ == "__main__":
    main()

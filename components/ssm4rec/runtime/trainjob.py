"""A TrainJob of Kubeflow Trainer 2.2 or newer that runs a command on several nodes, each like the pod that asks for it.

Image, resources, volumes, node labels and tolerations are those of that pod: what a pipeline gave its task, every node
gets. The rest (user, security, secrets, restarts) is the TrainingRuntime's: ``manifests/nodes``. References are to
kubeflow/trainer v2.3.0.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssm4rec.runtime.addresses import carries_secret
from ssm4rec.runtime.cluster import Document
from ssm4rec.runtime.errors import InputError

GROUP: Final = "trainer.kubeflow.org"
VERSION: Final = "v1alpha1"
LONGEST_NAME: Final = 40
"""Letters: names of pods are ``NAME-node-0-123-abcde``, of 63 at most."""

NODE: Final = "node"
"""Of the job and its container, by which Trainer finds what it changes (pkg/constants/constants.go, Node)."""
_MANAGER: Final = "ssm4rec/stage"
"""Of our patches; a domain's name, then a path (pkg/runtime/framework/plugins/jobset/jobset.go, Validate)."""


@dataclass(frozen=True, kw_only=True)
class NodesCommand:
    """What runs on how many nodes.

    Attributes:
        name: of the TrainJob, and so of what is found when the same is asked for again.
        runtime: name of the TrainingRuntime in the namespace.
        command, arguments: run once per node; ``torchrun`` reads Trainer's variables.
        nodes: their number.
        processes: of each node; with ``accelerator`` as many of those.
        accelerator: such as ``nvidia.com/gpu``; empty: none.
        variables: of the environment, passed on where they are set; none may be a secret.
    """

    name: str
    runtime: str
    command: Sequence[str]
    arguments: Sequence[str]
    nodes: int
    processes: int = 1
    accelerator: str = ""
    variables: Sequence[str] = ()


def render(told: NodesCommand, pod: Document) -> Document:
    """Return the TrainJob, as it is sent to the API; ``pod`` is the one that each node is to be like.

    Raise InputError if a variable that is to be passed on has a secret in it.
    """
    container = own_container(pod)
    mounts = claim_mounts(pod)
    volumes = {mount["name"] for mount in mounts}
    spec: Document = {
        "nodeSelector": pod["spec"].get("nodeSelector"),
        "affinity": pod["spec"].get("affinity"),
        # Kubernetes adds those of its own to every pod.
        "tolerations": [
            one
            for one in pod["spec"].get("tolerations", ())
            if not one.get("key", "").startswith("node.kubernetes.io/")
        ],
        "imagePullSecrets": pod["spec"].get("imagePullSecrets"),
        "volumes": [volume for volume in pod["spec"].get("volumes", ()) if volume["name"] in volumes],
        "containers": [{"name": NODE, "volumeMounts": mounts}] if mounts else None,
    }
    trainer = {
        "image": container["image"],
        "command": list(told.command),
        "args": list(told.arguments),
        "env": list(_environment(told.variables, container)),
        "numNodes": told.nodes,
        "numProcPerNode": told.processes,
        "resourcesPerNode": _resources(container, told),
    }
    patch = {"template": {"spec": {"template": {"spec": _without_nothing(spec)}}}}
    metadata = {
        "name": told.name,
        "namespace": pod["metadata"]["namespace"],
        "labels": {"app.kubernetes.io/name": told.runtime, "app.kubernetes.io/managed-by": "ssm4rec"},
        "ownerReferences": list(_owners(pod)),
    }
    # A node's time is the task's, so that one whose task is lost for good ends, too.
    limit = {"activeDeadlineSeconds": pod["spec"].get("activeDeadlineSeconds")}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": _without_nothing(metadata),
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": told.runtime},
            "trainer": _without_nothing(trainer),
            "runtimePatches": [
                {
                    "manager": _MANAGER,
                    "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [{"name": NODE, **patch}]}}},
                }
            ],
            **_without_nothing(limit),
        },
    }


def job_name(words: str, digest: str) -> str:
    """Return a TrainJob's name: some words, as far as they fit, and ten letters of a digest of what is run.

    >>> job_name("2Mamba4Rec seed 0", "1f2e3d4c5b6a7980")
    'train-2mamba4rec-seed-0-1f2e3d4c5b'
    """
    plain = re.sub("[^a-z0-9]+", "-", f"train-{words}".lower())
    return f"{plain[: LONGEST_NAME - 11].rstrip('-')}-{digest[:10]}"


def own_container(pod: Document) -> Document:
    """Return the container of a pod that runs the command: Argo calls it ``main``."""
    containers: list[Document] = pod["spec"]["containers"]
    return next((one for one in containers if one["name"] == "main"), containers[0])


def claim_mounts(pod: Document) -> list[Document]:
    """Return where the command's container finds volumes that other pods can mount, too: those of claims."""
    claims = {volume["name"] for volume in pod["spec"].get("volumes", ()) if "persistentVolumeClaim" in volume}
    return [mount for mount in own_container(pod).get("volumeMounts", ()) if mount["name"] in claims]


def claim_of(pod: Document, folder: Path, flag: str) -> str:
    """Return the name of the claim whose volume a folder lies on; raise InputError, naming ``flag``, if on none."""
    mounts = {Path(mount["mountPath"]): mount["name"] for mount in claim_mounts(pod)}
    place = Path(os.path.realpath(folder))
    for mount in (place, *place.parents):
        if mount in mounts:
            [volume] = [one for one in pod["spec"]["volumes"] if one["name"] == mounts[mount]]
            name: str = volume["persistentVolumeClaim"]["claimName"]
            return name
    known = ", ".join(map(str, mounts)) or "none"
    raise InputError(
        f"{flag} {folder}: lies on no volume that the nodes can mount (this pod's: {known}); give a folder of one, "
        "or compile the pipeline with VOLUME="
    )


def _environment(names: Sequence[str], container: Document) -> Iterator[Document]:
    """Yield variables by name; those that the pod has from a secret or a field stay references.

    Raise InputError for an address with a secret in it: whoever may get TrainJobs, or pods, would read it.
    """
    told = {entry["name"]: entry for entry in container.get("env", ())}
    for name in names:
        if "valueFrom" in told.get(name, {}):
            yield told[name]
        elif carries_secret(os.environ.get(name, "")):
            raise InputError(
                f"{name}: has a user, a password or a query in it, which the nodes would be told for all to see; give "
                "the address alone, and the login in the secret that the TrainingRuntime reads, or the variable itself "
                "from a secret (valueFrom)"
            )
        elif name in os.environ:
            yield {"name": name, "value": os.environ[name]}


def _resources(container: Document, told: NodesCommand) -> Document:
    own = container.get("resources", {})
    found: Document = {bound: dict(own[bound]) for bound in ("requests", "limits") if own.get(bound)}
    if told.accelerator:
        for bound in ("requests", "limits"):
            found.setdefault(bound, {})[told.accelerator] = str(told.processes)
    return found


def _owners(pod: Document) -> Iterator[Document]:
    """Yield the pod's own owner, such as Argo's Workflow: when that is deleted, Kubernetes deletes the TrainJob.

    Not the pod: a task that is tried again is another pod, and is to find the TrainJob of the first.
    """
    for owner in pod["metadata"].get("ownerReferences", ()):
        yield {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}


def _without_nothing(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value}

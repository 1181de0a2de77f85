"""The pod that a task of a pipeline runs in, and what other pods get of it.

Image, resources, volumes, node labels and tolerations are what a pipeline gave its task: pods that are made for the
task are like it.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from ssm4rec.runtime.addresses import carries_secret
from ssm4rec.runtime.cluster import Document
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.images import DEVICE_VARIABLE

WORKFLOW_LABEL: Final = "workflows.argoproj.io/workflow"
"""Argo's, of all pods of one run of a pipeline."""
LONGEST_NAME: Final = 40
"""Letters of a job: names of its pods are ``NAME-node-0-123-abcde``, of 63 at most."""
GPU: Final = "nvidia.com/gpu"


def job_name(kind: str, words: str, digest: str) -> str:
    """Return a job's name: a kind, some words, as far as they fit, and ten letters of a digest of what is run.

    >>> job_name("train", "2Mamba4Rec seed 0", "1f2e3d4c5b6a7980")
    'train-2mamba4rec-seed-0-1f2e3d4c5b'
    """
    plain = re.sub("[^a-z0-9]+", "-", f"{kind}-{words}".lower())
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


def placement(pod: Document) -> Document:
    """Return what a pod's specification says of where it may run, and the volumes that other pods can mount, too."""
    volumes = {mount["name"] for mount in claim_mounts(pod)}
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
    }
    return without_nothing(spec)


def environment(names: Sequence[str], container: Document) -> Iterator[Document]:
    """Yield variables by name; those that the pod has from a secret or a field stay references.

    Raise InputError for an address with a secret in it: whoever may get the job, or pods, would read it.
    """
    told = {entry["name"]: entry for entry in container.get("env", ())}
    for name in names:
        if "valueFrom" in told.get(name, {}):
            yield told[name]
        elif carries_secret(os.environ.get(name, "")):
            raise InputError(
                f"{name}: has a user, a password or a query in it, which the nodes would be told for all to see; give "
                "the address alone, and the login in the secret that manifests/README.md names, or the variable itself "
                "from a secret (valueFrom)"
            )
        elif name in os.environ:
            yield {"name": name, "value": os.environ[name]}


def resources(container: Document, gpus: int) -> Document:
    """Return what a container asks for and is limited to, as far as it is, and so many GPUs instead of its own."""
    own = container.get("resources", {})
    rest = {
        bound: {name: amount for name, amount in own.get(bound, {}).items() if name != GPU}
        for bound in ("requests", "limits")
    }
    return without_nothing({bound: found | ({GPU: str(gpus)} if gpus else {}) for bound, found in rest.items()})


def own_gpus(pod: Document) -> int:
    """Return how many GPUs the command's container has."""
    return int(own_container(pod).get("resources", {}).get("limits", {}).get(GPU, 0))


def computes_on_gpus(device: str, pod: Document) -> bool:
    """Return whether nodes that are made for a task compute on GPUs; ``device`` is its ``--device``."""
    return device == "cuda" or (device == "auto" and (os.environ.get(DEVICE_VARIABLE) == "cuda" or own_gpus(pod) > 0))


def owners(pod: Document) -> Iterator[Document]:
    """Yield the pod's own owner, such as Argo's Workflow: when that is deleted, Kubernetes deletes the job.

    Not the pod: a task that is tried again is another pod, and is to find the job of the first.
    """
    for owner in pod["metadata"].get("ownerReferences", ()):
        yield {key: owner[key] for key in ("apiVersion", "kind", "name", "uid")}


def without_nothing(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document without its empty fields."""
    return {key: value for key, value in document.items() if value}

"""A TrainJob of Kubeflow Trainer 2.2 or newer that runs a command on several nodes, each like the pod that asks for it.

Image, resources, volumes, node labels and tolerations are those of that pod: what a pipeline gave its task, every node
gets. The rest (user, security, secrets, restarts) is the TrainingRuntime's: ``manifests/nodes``. References are to
kubeflow/trainer v2.3.0.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ssm4rec.runtime.cluster import Document
from ssm4rec.runtime.task_pod import (
    claim_mounts,
    environment,
    own_container,
    owners,
    placement,
    resources,
    without_nothing,
)

GROUP: Final = "trainer.kubeflow.org"
VERSION: Final = "v1alpha1"

NODE: Final = "node"
"""Of the job and its container, by which Trainer finds what it changes (pkg/constants/constants.go, Node)."""
TEMPORARY: Final = "temporary"
"""The runtime's volume at /tmp, TMPDIR of its pods."""
_ROOM: Final = 10
"""GiB that the runtime gives it: checkpoints on their way, logs, compiled kernels."""
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
        processes: of each node.
        gpus: of each node.
        variables: of the environment, passed on where they are set; none may be a secret.
        room: bytes of /tmp for the arrays that each process maps (``large_arrays.py``); 0: it maps none.
    """

    name: str
    runtime: str
    command: Sequence[str]
    arguments: Sequence[str]
    nodes: int
    processes: int = 1
    gpus: int = 0
    variables: Sequence[str] = ()
    room: int = 0


def render(told: NodesCommand, pod: Document) -> Document:
    """Return the TrainJob, as it is sent to the API; ``pod`` is the one that each node is to be like.

    Raise InputError if a variable that is to be passed on has a secret in it.
    """
    container = own_container(pod)
    mounts = claim_mounts(pod)
    spec = placement(pod) | ({"containers": [{"name": NODE, "volumeMounts": mounts}]} if mounts else {})
    if told.room:
        # Trainer merges volumes by their names (pkg/runtime/core/trainingruntime.go, mergeRuntimePatches).
        limit = f"{_ROOM + math.ceil(told.processes * told.room / 2**30)}Gi"
        spec["volumes"] = [*spec.get("volumes", ()), {"name": TEMPORARY, "emptyDir": {"sizeLimit": limit}}]
    trainer = {
        "image": container["image"],
        "command": list(told.command),
        "args": list(told.arguments),
        "env": list(environment(told.variables, container)),
        "numNodes": told.nodes,
        "numProcPerNode": told.processes,
        "resourcesPerNode": resources(container, told.gpus),
    }
    patch = {"template": {"spec": {"template": {"spec": spec}}}}
    metadata = {
        "name": told.name,
        "namespace": pod["metadata"]["namespace"],
        "labels": {"app.kubernetes.io/name": told.runtime, "app.kubernetes.io/managed-by": "ssm4rec"},
        "ownerReferences": list(owners(pod)),
    }
    # A node's time is the task's, so that one whose task is lost for good ends, too.
    deadline = {"activeDeadlineSeconds": pod["spec"].get("activeDeadlineSeconds")}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": without_nothing(metadata),
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": told.runtime},
            "trainer": without_nothing(trainer),
            "runtimePatches": [
                {
                    "manager": _MANAGER,
                    "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [{"name": NODE, **patch}]}}},
                }
            ],
            **without_nothing(deadline),
        },
    }

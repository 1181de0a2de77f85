"""A RayJob of KubeRay that runs a command on a Ray cluster of its own, whose pods are like the pod that asks for it.

The command runs in the head's pod, which does no other work; each worker's pod is a node of Ray with all cores that the
task asked for, and its GPUs (KubeRay reads both from the limits: controllers/ray/common/pod.go,
generateRayStartCommand). References are to ray-project/kuberay v1.7.0, ray-operator/.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

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

JOB_LABEL: Final = "ssm4rec/rayjob"
"""Of all its pods, with its name: KubeRay's own labels of head and workers have the name of the cluster it makes."""
RAY_LABEL: Final = "ssm4rec-ray"
"""Of the same pods, for ``manifests/nodes/network-policy-ray.yaml``."""
DOWNLOADS_LABEL: Final = "ssm4rec-downloads"
"""Of a task's pod that may reach public addresses (``manifests/base/network-policies.yaml``)."""
HEAD: Final = "head"
WORKER: Final = "worker"
SUBMITTER: Final = "submit"
"""Names of containers, by which the pods are told from each other."""
SERVICE_ACCOUNT: Final = "ssm4rec-train"
"""Of ``manifests/nodes``: it may do nothing."""
_USER: Final = 10001  # of the images
_SUBMITTER_RESOURCES: Final = {"requests": {"cpu": "500m", "memory": "512Mi"}, "limits": {"memory": "2Gi"}}
"""It starts Ray's command line, and prints."""
_LOGIN: Final = "kfp-mlflow-credentials"


@dataclass(frozen=True, kw_only=True)
class RayCommand:
    """What runs on how many nodes.

    Attributes:
        name: of the RayJob, and so of what is found when the same is asked for again.
        entrypoint: a line of shell without quotes: two shells read it (controllers/ray/common/job.go,
            BuildJobSubmitCommand; Ray's job supervisor).
        workers: pods besides the head's.
        gpus: of each worker's pod; the head's has none, as no task runs there.
        ray_version: of the image.
        variables: of the environment, passed on where they are set; none may be a secret.
    """

    name: str
    entrypoint: str
    workers: int
    ray_version: str
    gpus: int = 0
    variables: Sequence[str] = ()


def render(told: RayCommand, pod: Document) -> Document:
    """Return the RayJob, as it is sent to the API; ``pod`` is the one that head and workers are to be like.

    Raise InputError if a variable that is to be passed on has a secret in it.
    """
    own = own_container(pod)
    # References to secrets stay references; what the pod has of them as text is not passed on.
    secrets = [entry for entry in own.get("env", ()) if "secretKeyRef" in entry.get("valueFrom", {})]
    login = [
        {
            "name": f"MLFLOW_TRACKING_{key.upper()}",
            "valueFrom": {"secretKeyRef": {"name": _LOGIN, "key": key, "optional": True}},
        }
        for key in ("username", "password")
    ]
    known = {entry["name"] for entry in secrets}
    variables = [
        {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
        *secrets,
        *(entry for entry in environment(told.variables, own) if entry["name"] not in known),
    ]
    head = {
        "name": HEAD,
        "env": [*variables, *(one for one in login if one["name"] not in known)],
        **_resources(own, 0),
    }
    worker = {
        "name": WORKER,
        # A task of Ray has one core.
        "env": [*variables, {"name": "POLARS_MAX_THREADS", "value": "1"}],
        **_resources(own, told.gpus),
    }
    submitter = {"name": SUBMITTER, "resources": _SUBMITTER_RESOURCES}
    metadata = {
        "name": told.name,
        "namespace": pod["metadata"]["namespace"],
        "labels": {"app.kubernetes.io/name": RAY_LABEL, "app.kubernetes.io/managed-by": "ssm4rec"},
        "ownerReferences": list(owners(pod)),
    }
    cluster = {
        "rayVersion": told.ray_version,
        "headGroupSpec": {
            # No tasks: their memory would be the command's.
            "rayStartParams": {"num-cpus": "0", "dashboard-host": "0.0.0.0"},  # noqa: S104 - KubeRay asks it for jobs
            "template": _template(told, pod, head),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": told.workers,
                "minReplicas": told.workers,
                "maxReplicas": told.workers,
                # Cores and memory are the container's (controllers/ray/common/pod.go, generateRayStartCommand).
                "rayStartParams": {},
                "template": _template(told, pod, worker),
            }
        ],
    }
    # Its time is the task's, so that one whose task is lost for good ends, too.
    limit = {"activeDeadlineSeconds": pod["spec"].get("activeDeadlineSeconds")}
    return {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": without_nothing(metadata),
        "spec": {
            "entrypoint": told.entrypoint,
            "shutdownAfterJobFinishes": True,
            "submitterPodTemplate": _template(told, pod, submitter),
            "rayClusterSpec": cluster,
            **without_nothing(limit),
        },
    }


def _resources(container: Document, gpus: int) -> Document:
    return without_nothing({"resources": resources(container, gpus)})


def _template(told: RayCommand, pod: Document, container: dict[str, Any]) -> Document:
    """Return the template of a pod with a container like the task's, whose root cannot be written."""
    own = own_container(pod)
    downloads = {name: value for name, value in pod["metadata"].get("labels", {}).items() if name == DOWNLOADS_LABEL}
    found = placement(pod)
    return {
        "metadata": {"labels": {JOB_LABEL: told.name, RAY_LABEL: "true", **downloads}},
        "spec": {
            **found,
            "restartPolicy": "Never",
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": _USER,
                "runAsGroup": _USER,
                "fsGroup": _USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            # Ray keeps its logs there, and what its shared memory does not hold; that, /dev/shm, is KubeRay's to add.
            "volumes": [*found.get("volumes", ()), {"name": "temporary", "emptyDir": {}}],
            "containers": [
                {
                    "image": own["image"],
                    "imagePullPolicy": "IfNotPresent",
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "volumeMounts": [*claim_mounts(pod), {"name": "temporary", "mountPath": "/tmp"}],  # noqa: S108
                    **container,
                }
            ],
        },
    }

"""Where a stage may run and what it gets, said once for all pipelines.

A cluster's shared volume is named when a pipeline is compiled (``make compile VOLUME=ssm4rec-cache``): every stage then
finds it at ``/cache``, where downloads and checkpoints outlive a pod. Without one nothing is mounted.
"""

import os
from typing import Any, Final

from kfp import kubernetes
from kfp.dsl import PipelineTask

from ssm4rec.runtime.images import ACCELERATOR, DEVICE_VARIABLE

A100_80GB: Final = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
"""Node labels of the default GPU pool, as NVIDIA's GPU feature discovery sets them.
GKE labels its nodes otherwise: {"cloud.google.com/gke-accelerator": "nvidia-a100-80gb"}."""

GPU_TAINTS: Final = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
"""The taints that keep other work off GPU nodes, tolerated by GPU stages only."""

GPU_NODE_LABELS: Final = ("nvidia.com/gpu.present", "cloud.google.com/gke-accelerator")
"""Labels that only GPU nodes carry (GPU feature discovery; GKE): CPU stages prefer nodes without them."""

_RETRY_WINDOW: Final = "30d"
"""Argo counts it from the start of the first attempt, its wait for a node included, and gives every later attempt what
is left of it as a deadline (argo-workflows v4.0.5, workflow/controller/operator.go:1028-1040 and :1094): it is no limit
on the pause between two attempts, as kfp calls it, and must be longer than all attempts together."""

OBJECT_STORE_SECRET: Final = "ssm4rec-object-store"  # noqa: S105 - its name
OBJECT_STORE_VARIABLES: Final = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_REGION")
"""The secret of ``manifests/secrets`` and its keys, which are the variables the S3 clients read."""

HUB_SECRET: Final = "ssm4rec-hugging-face"  # noqa: S105 - its name
HUB_VARIABLES: Final = ("HF_TOKEN",)
"""The secret of ``manifests/secrets`` for gated models of the Hugging Face hub."""

DOWNLOADS_LABEL: Final = ("ssm4rec-downloads", "true")
"""Of pods that may reach public addresses: the NetworkPolicies of ``manifests/base`` forbid it to all others."""

AT_ONCE: Final = int(os.environ.get("SSM4REC_AT_ONCE") or 8)
"""How many entries of a loop run at a time: 24 trainings would ask for 24 GPUs. Here kfp.local runs two at most."""

VOLUME: Final = os.environ.get("SSM4REC_VOLUME", "")
CACHE_FOLDER: Final = "/cache"


def on_gpu(task: PipelineTask, gpus: Any, pool: Any, tolerations: Any, hours: int) -> None:
    """Place a task on GPUs of one node of a pool; with ``SSM4REC_ACCELERATOR=cpu`` on a CPU node instead.

    Args:
        task: the task.
        gpus: how many, a pipeline parameter of text: from a number KFP's backend (2.17.0) reads no limit, and the task
            would silently run without a GPU (kubeflow/pipelines:backend/src/v2/driver/util.go).
        pool: node labels, a pipeline parameter, so that the pool is chosen at submission.
        tolerations: of the pool's taints, also a parameter, of a list.
        hours: after this long an attempt is given up.
    """
    if ACCELERATOR == "cpu":
        on_cpu(task, cpus=4, memory_gib=8, hours=hours)
        return
    task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
    # A pod that gets no GPU, or one whose driver is too old, would train on its CPUs for hours. On this machine `auto`
    # stays `auto`: local.py ignores a task's variables.
    task.set_env_variable(DEVICE_VARIABLE, "cuda")
    task.set_cpu_request("4").set_memory_request("16Gi").set_memory_limit("64Gi")
    kubernetes.add_node_selector_json(task, node_selector_json=pool)
    kubernetes.add_toleration_json(task, toleration_json=tolerations)
    # A container's own /dev/shm has 64 MiB, too little for what worker processes hand to each other.
    kubernetes.empty_dir_mount(
        task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit="8Gi"
    )
    _everywhere(task, hours, retries=2)


def on_cpu(task: PipelineTask, cpus: int, memory_gib: int, hours: int) -> None:
    """Give a task CPUs and memory, and keep it off GPU nodes where there are others.

    Preferred, not required: on a cluster of GPU nodes alone it would stay Pending for ever. The taint does the rest.
    """
    task.set_cpu_request(str(cpus)).set_memory_request(f"{memory_gib}Gi").set_memory_limit(f"{2 * memory_gib}Gi")
    expressions = [{"key": label, "operator": "DoesNotExist"} for label in GPU_NODE_LABELS]
    kubernetes.add_node_affinity(task, match_expressions=expressions, weight=100)
    _everywhere(task, hours, retries=1)


def reads_object_store(task: PipelineTask) -> None:
    """Let a task download: from public addresses, and with the object store's credentials, if the cluster has them."""
    kubernetes.add_pod_label(task, *DOWNLOADS_LABEL)
    kubernetes.use_secret_as_env(
        task, OBJECT_STORE_SECRET, {name: name for name in OBJECT_STORE_VARIABLES}, optional=True
    )


def reads_language_models(task: PipelineTask) -> None:
    """Give a task what its language model may need: a token of the hub, the object store's credentials."""
    kubernetes.use_secret_as_env(task, HUB_SECRET, {name: name for name in HUB_VARIABLES}, optional=True)
    reads_object_store(task)


def measured_here(task: PipelineTask) -> None:
    """Never take a task's result from an earlier run.

    The key of KFP's cache knows neither the nodes nor what stands in a registry (kubeflow/pipelines 2.17.0,
    backend/src/v2/cacheutils/cache.go:173): a timing on another GPU pool would show the old pool's milliseconds.
    """
    task.set_caching_options(enable_caching=False)


def _everywhere(task: PipelineTask, hours: int, retries: int) -> None:
    # A pre-empted node or a lost GPU: try again, later each time. What counts as lost: manifests/README.md.
    task.set_retry(retries, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration=_RETRY_WINDOW)
    kubernetes.set_timeout(task, seconds=hours * 3600)
    kubernetes.set_security_context(task, run_as_non_root=True)
    if VOLUME:
        kubernetes.mount_pvc(task, pvc_name=VOLUME, mount_path=CACHE_FOLDER)

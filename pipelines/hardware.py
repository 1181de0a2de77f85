"""Where a stage may run and what it gets, said once for all pipelines.

A cluster's shared volume is named when a pipeline is compiled (``make compile VOLUME=ssm4rec-cache``): every stage then
finds it at ``/cache``, where downloads and checkpoints outlive a pod. Without one nothing is mounted.
"""

import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kfp import kubernetes
from kfp.dsl import PipelineTask

from ssm4rec.runtime import compile_variables
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

AT_ONCE: Final = int(compile_variables.AT_ONCE.value)
"""How many entries of a loop run at a time: 24 trainings would ask for 24 GPUs. Here kfp.local runs two at most."""

NODES: Final = compile_variables.NODES.value
"""Of each training, as text; those past the first are Kubeflow Trainer's to find (``train_recommender --nodes``)."""

VOLUME: Final = compile_variables.VOLUME.value
CACHE_FOLDER: Final = "/cache"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a stage runs and what it gets.

    Attributes:
        hours: after this long an attempt is given up.
        memory_gib: on a CPU node; the limit is twice as much.
        gpu: it runs in the GPU pool, with ``SSM4REC_ACCELERATOR=cpu`` on a CPU node instead.
        downloads: it reads public addresses, and the object store if the cluster has credentials for one.
        language_models: it downloads language models, too, gated ones with the hub's token.
        measures: its result is never taken from an earlier run. The key of KFP's cache knows neither the nodes nor what
            stands in a registry (kubeflow/pipelines 2.17.0, backend/src/v2/cacheutils/cache.go:173): a timing on
            another GPU pool would show the old pool's milliseconds.
    """

    hours: int
    cpus: int = 4
    memory_gib: int = 8
    gpu: bool = False
    downloads: bool = False
    language_models: bool = False
    measures: bool = False


PLACES: Final = {
    "prepare_data": Place(hours=3, cpus=2, downloads=True),
    "train_recommender": Place(hours=12, gpu=True),
    "evaluate": Place(hours=3),
    "compare_models": Place(hours=2, cpus=2),
    "choose_settings": Place(hours=1, cpus=1, memory_gib=2),
    "measure_latency": Place(hours=6, gpu=True, measures=True),
    "register_champion": Place(hours=1, cpus=1, memory_gib=4, measures=True),
    "mine_preferences": Place(hours=6, cpus=2),
    "finetune_llm": Place(hours=48, gpu=True, language_models=True),
    "align_llm": Place(hours=24, gpu=True, language_models=True),
    "rank_candidates": Place(hours=12, gpu=True, language_models=True),
    "train_generator": Place(hours=24, gpu=True, language_models=True),
    "evaluate_generator": Place(hours=6, gpu=True, language_models=True),
    "report": Place(hours=1, cpus=1, memory_gib=2),
}
"""Of every stage; a study may say otherwise."""


@contextmanager
def _short_stack() -> Iterator[None]:
    """Give kfp only what it reads of ``inspect.stack()``, its caller's name: 5/6 of the time to compile were the rest.

    ``stack`` reads the sources of all callers, for each property of a task that is set (kfp 2.17.0,
    kfp/dsl/pipeline_task.py:389).
    """

    def stack() -> list[inspect.FrameInfo]:
        frames = [sys._getframe(1), sys._getframe(2)]
        return [inspect.FrameInfo(one, one.f_code.co_filename, one.f_lineno, one.f_code.co_name, None, None)
                for one in frames]  # fmt: skip

    whole = inspect.stack
    inspect.stack = stack  # type: ignore[assignment]
    try:
        yield
    finally:
        inspect.stack = whole


@_short_stack()
def put(task: PipelineTask, place: Place, pool: Any, tolerations: Any, gpus: Any) -> None:
    """Give a task its place.

    Args:
        pool: node labels, a pipeline parameter, so that the pool is chosen at submission.
        tolerations: of the pool's taints, also a parameter, of a list.
        gpus: how many of one node, a pipeline parameter of text: from a number KFP's backend (2.17.0) reads no limit,
            and the task would silently run without a GPU (kubeflow/pipelines:backend/src/v2/driver/util.go).
            None: it is in the pool and needs none itself, as it has others compute there.
    """
    on_gpu = place.gpu and ACCELERATOR != "cpu"
    if on_gpu:
        if gpus is not None:
            task.set_accelerator_type("nvidia.com/gpu").set_accelerator_limit(gpus)
        # A pod that gets no GPU, or one whose driver is too old, would train on its CPUs for hours. On this machine
        # `auto` stays `auto`: local.py ignores a task's variables.
        task.set_env_variable(DEVICE_VARIABLE, "cuda")
        task.set_cpu_request("4").set_memory_request("16Gi").set_memory_limit("64Gi")
        kubernetes.add_node_selector_json(task, node_selector_json=pool)
        kubernetes.add_toleration_json(task, toleration_json=tolerations)
        # A container's own /dev/shm has 64 MiB, too little for what worker processes hand to each other.
        kubernetes.empty_dir_mount(
            task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit="8Gi"
        )
    else:
        task.set_cpu_request(str(place.cpus)).set_memory_request(f"{place.memory_gib}Gi")
        task.set_memory_limit(f"{2 * place.memory_gib}Gi")
        # Preferred, not required: on a cluster of GPU nodes alone it would stay Pending for ever. The taint does the
        # rest.
        expressions = [{"key": label, "operator": "DoesNotExist"} for label in GPU_NODE_LABELS]
        kubernetes.add_node_affinity(task, match_expressions=expressions, weight=100)
    # A pre-empted node or a lost GPU: try again, later each time. What counts as lost: manifests/README.md.
    retries = 2 if on_gpu else 1
    task.set_retry(retries, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration=_RETRY_WINDOW)
    kubernetes.set_timeout(task, seconds=place.hours * 3600)
    kubernetes.set_security_context(task, run_as_non_root=True)
    if VOLUME:
        kubernetes.mount_pvc(task, pvc_name=VOLUME, mount_path=CACHE_FOLDER)
    if place.language_models:
        _use_secret(task, HUB_SECRET, HUB_VARIABLES)
    if place.downloads or place.language_models:
        kubernetes.add_pod_label(task, *DOWNLOADS_LABEL)
        _use_secret(task, OBJECT_STORE_SECRET, OBJECT_STORE_VARIABLES)
    if place.measures:
        task.set_caching_options(enable_caching=False)


def _use_secret(task: PipelineTask, secret: str, variables: tuple[str, ...]) -> None:
    kubernetes.use_secret_as_env(task, secret, {name: name for name in variables}, optional=True)

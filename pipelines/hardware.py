"""Where a stage may run and what it gets, said once for all pipelines."""

from typing import Any, Final

from kfp import kubernetes
from kfp.dsl import PipelineTask

A100_80GB: Final = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
"""Node labels of the default GPU pool, as NVIDIA's GPU feature discovery sets them.
GKE labels its nodes otherwise: {"cloud.google.com/gke-accelerator": "nvidia-a100-80gb"}."""

GPU_TAINT: Final = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
"""The taint that keeps other work off GPU nodes, tolerated by GPU stages only."""


def on_gpu(task: PipelineTask, pool: Any, toleration: Any, hours: int) -> None:
    """Place a task on one GPU of a pool.

    Args:
        task: the task.
        pool: node labels, a pipeline parameter, so that the pool is chosen at submission.
        toleration: of the pool's taint, likewise.
        hours: after this long an attempt is given up.
    """
    task.set_accelerator_type("nvidia.com/gpu")
    task.set_accelerator_limit(1)
    task.set_cpu_request("4").set_memory_request("16Gi").set_memory_limit("64Gi")
    kubernetes.add_node_selector_json(task, node_selector_json=pool)
    kubernetes.add_toleration_json(task, toleration_json=toleration)
    # A container's own /dev/shm has 64 MiB, too little for what worker processes hand to each other.
    kubernetes.empty_dir_mount(
        task, volume_name="shared-memory", mount_path="/dev/shm", medium="Memory", size_limit="8Gi"
    )
    kubernetes.set_timeout(task, seconds=hours * 3600)
    # A pre-empted node or a lost GPU: try again, later each time.
    task.set_retry(num_retries=2, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="1800s")


def on_cpu(task: PipelineTask, cpus: int, memory_gib: int, hours: int) -> None:
    """Give a task CPUs and memory; without a GPU toleration it stays off the GPU nodes."""
    task.set_cpu_request(str(cpus)).set_memory_request(f"{memory_gib}Gi").set_memory_limit(f"{2 * memory_gib}Gi")
    kubernetes.set_timeout(task, seconds=hours * 3600)
    task.set_retry(num_retries=1, backoff_duration="60s", backoff_factor=2.0, backoff_max_duration="600s")

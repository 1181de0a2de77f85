"""Recommendations by several nodes of the cluster that this stage runs in: a RayJob, made of the stage's own settings.

The nodes share the volume of ``--checkpoint-dir``. There they find copies of the data and the model, and there the
finished shards stay until all are there, whatever becomes of the RayJob or of this pod.
"""

from pathlib import Path
from typing import Final

from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.runtime.cluster import Cluster
from ssm4rec.runtime.ray_stage import StageOnRay, check_place, run_on_ray
from ssm4rec.runtime.shared_folder import digest_of_task
from ssm4rec.runtime.task_pod import computes_on_gpus, job_name, own_gpus
from ssm4rec.settings.nodes import check_on_volumes, handed_on
from ssm4rec.stages.recommend_all.settings import Settings

_OWN_FLAGS: Final = ("nodes", "workers", "device", "checkpoint_dir")
"""Flags that say where the work is done."""


def recommend_on_nodes(options: Settings) -> None:
    """Write the recommendations by ``options.nodes`` nodes; see ``run_on_ray``.

    Asked again with the same settings and inputs in the same run of a pipeline, it follows the RayJob of before. On
    GPUs each node has as many as this task, but one at least.
    """
    cluster = Cluster.found()
    pod = cluster.own_pod()
    place = Path(options.checkpoint_dir).absolute()
    check_place(cluster, pod, place, "--checkpoint-dir", options.nodes)
    for flag, address in (
        ("--allowed-items", options.allowed_items),
        ("--users", options.users),
        ("--added-items", options.added_items),
    ):
        check_on_volumes(pod, flag, [address] if address else [])
    gpus = max(1, own_gpus(pod)) if computes_on_gpus(options.device, pod) else 0
    # The head has no GPU from which `auto` could tell.
    asked = [*handed_on(options, without=_OWN_FLAGS), f"--device={'cuda' if gpus else 'cpu'}"]
    inputs = {"dataset-dir": options.dataset_dir, "model-dir": options.model_dir}
    digest = digest_of_task(pod, [options.nodes, gpus, *asked], inputs)
    told = StageOnRay(
        module=options.module(),
        arguments=[*asked, "--workers=0", f"--checkpoint-dir={place}"],
        folder=place / job_name("recommend", read_manifest(options.dataset_dir)["dataset"], digest),
        inputs=inputs,
        output="recommendations-dir",
        nodes=options.nodes,
        gpus=gpus,
    )
    run_on_ray(told, cluster, pod, options.recommendations_dir)

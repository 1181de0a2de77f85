"""Preparing a data set by several nodes of the cluster that this stage runs in: a RayJob, made of the stage's settings.

The nodes share the volume of ``--cache-dir``.
"""

from pathlib import Path
from typing import Final

from ssm4rec.data.data_sets import read_addresses
from ssm4rec.runtime.cluster import Cluster
from ssm4rec.runtime.ray_stage import StageOnRay, check_place, run_on_ray
from ssm4rec.runtime.shared_folder import digest_of_task
from ssm4rec.runtime.task_pod import job_name
from ssm4rec.settings.nodes import check_on_volumes, handed_on
from ssm4rec.stages.prepare_data.settings import Settings

_OWN_FLAGS: Final = ("nodes", "cache_dir")
"""Flags that say where the work is done."""


def prepare_on_nodes(options: Settings) -> None:
    """Prepare the data on ``options.nodes`` nodes and write the dataset folder; see ``run_on_ray``.

    Asked again with the same settings in the same run of a pipeline, it follows the RayJob of before.
    """
    cluster = Cluster.found()
    pod = cluster.own_pod()
    cache = Path(options.cache_dir).absolute()
    check_place(cluster, pod, cache, "--cache-dir", options.nodes)
    check_on_volumes(pod, "source", read_addresses(options.source_options()))
    asked = handed_on(options, without=_OWN_FLAGS)
    digest = digest_of_task(pod, [options.nodes, *asked], {})
    told = StageOnRay(
        module=options.module(),
        arguments=[*asked, f"--cache-dir={cache}"],
        folder=cache / "ray" / job_name("prepare", options.called(), digest),
        output="dataset-dir",
        nodes=options.nodes,
    )
    run_on_ray(told, cluster, pod, options.dataset_dir)

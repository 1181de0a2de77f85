"""A training on several nodes of the cluster that this stage runs in: a TrainJob, made of the stage's own settings.

The nodes share a volume. In a folder of it, named after the TrainJob, they find what the stage was given and leave what
it is to write; when they have ended, the stage copies that to its outputs and removes the folder. What was reached by a
training that failed lies in the checkpoints, where those of one node do, too.
"""

import logging
import shutil
import sys
from pathlib import Path
from typing import Final

from ssm4rec.artifacts.dataset import mapped_bytes
from ssm4rec.runtime.cluster import Cluster
from ssm4rec.runtime.files import whole_file
from ssm4rec.runtime.images import DEVICE_VARIABLE
from ssm4rec.runtime.shared_folder import (
    check_read_by_several,
    copy_folder,
    digest_of_task,
    follow_with_folder,
    give_folders,
)
from ssm4rec.runtime.task_pod import computes_on_gpus, job_name
from ssm4rec.runtime.trainjob import NodesCommand, render
from ssm4rec.runtime.trainjob_run import TrainJobRun
from ssm4rec.settings.nodes import handed_on
from ssm4rec.stages.train_recommender.settings import Settings

logger = logging.getLogger(__name__)

RUNTIME: Final = "ssm4rec-nodes"
"""The TrainingRuntime of ``manifests/nodes``."""
STAGE: Final = "train_recommender"
_VARIABLES: Final = (
    DEVICE_VARIABLE, "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID", "SSM4REC_TRACKING_SECONDS",
)  # fmt: skip
"""What the nodes have of this task; secrets are the runtime's."""
_OWN_FLAGS: Final = ("nodes", "processes", "checkpoint_dir")
"""Flags that say how the training is started."""


def train_on_nodes(options: Settings, module: str) -> None:
    """Train ``module``'s way on ``options.nodes`` nodes and write the stage's outputs.

    Asked again with the same settings in the same run of a pipeline, it follows the TrainJob of before. Exit with
    status 1 if the training failed there; its own message stands in the nodes' lines.
    """
    cluster = Cluster.found()
    pod = cluster.own_pod()
    check_read_by_several(cluster, pod, Path(options.checkpoint_dir), "--checkpoint-dir", options.nodes)
    inputs = {
        "dataset-dir": options.dataset_dir,
        **({"initial-model": options.initial_model} if options.initial_model else {}),
    }
    asked = handed_on(options, without=_OWN_FLAGS)
    digest = digest_of_task(pod, [options.nodes, options.processes, *asked], inputs)
    name = job_name("train", f"{options.model} seed {options.seed}", digest)
    folder = Path(options.checkpoint_dir).absolute() / name
    told = NodesCommand(
        name=name,
        runtime=RUNTIME,
        command=["torchrun", "-m", module],
        arguments=[
            *(f"--{flag}={folder / flag}" for flag in inputs),
            *asked,
            f"--checkpoint-dir={folder.parent}",
            f"--model-dir={folder / 'model'}",
            f"--curve={folder / 'curve.parquet'}",
        ],
        nodes=options.nodes,
        processes=options.processes,
        gpus=options.processes if computes_on_gpus(options.device, pod) else 0,
        variables=_VARIABLES,
        room=mapped_bytes(options.dataset_dir),
    )
    run = TrainJobRun(cluster=cluster, document=render(told, pod))
    give_folders(inputs, folder, STAGE)
    missing = (
        f"TrainJob {name}: is complete, but {folder} has no model and curve, as if somebody had tidied up; start "
        "the same again, which goes on from the checkpoints"
    )
    end = follow_with_folder(run, folder, lambda: _take(folder, options), missing)
    if not end.complete:
        logger.error("TrainJob %s failed (%s); what its nodes said is above", name, end.why)
        sys.exit(1)
    logger.info("TrainJob %s: complete; written to %s", name, options.model_dir)


def _take(folder: Path, options: Settings) -> bool:
    """Copy what the nodes wrote to the stage's outputs; return whether it was there."""
    model, curve = folder / "model", folder / "curve.parquet"
    if not model.is_dir() or not curve.is_file():
        return False
    copy_folder(model, options.model_dir, STAGE)
    with whole_file(options.curve) as partial:
        shutil.copyfile(curve, partial)
    return True

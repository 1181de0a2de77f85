"""A training on several nodes of the cluster that this stage runs in: a TrainJob, made of the stage's own settings.

The nodes share a volume. In a folder of it, named after the TrainJob, they find what the stage was given and leave what
it is to write; when they have ended, the stage copies that to its outputs and removes the folder. What was reached by a
training that failed lies in the checkpoints, where those of one node do, too.
"""

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ssm4rec.artifacts.dataset import mapped_bytes
from ssm4rec.runtime.cluster import Cluster, Document
from ssm4rec.runtime.files import whole_file
from ssm4rec.runtime.images import DEVICE_VARIABLE
from ssm4rec.runtime.shared_folder import check_read_by_several, copy_folder, follow_with_folder, remove_folder
from ssm4rec.runtime.task_pod import WORKFLOW_LABEL, job_name
from ssm4rec.runtime.trainjob import NodesCommand, render
from ssm4rec.runtime.trainjob_run import TrainJobRun
from ssm4rec.settings.flags import Flag, described
from ssm4rec.stages.train_recommender.settings import Settings

logger = logging.getLogger(__name__)

RUNTIME: Final = "ssm4rec-nodes"
"""The TrainingRuntime of ``manifests/nodes``."""
STAGE: Final = "train_recommender"
_GPU: Final = "nvidia.com/gpu"
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
    name = job_name("train", f"{options.model} seed {options.seed}", _digest(options, pod))
    folder = Path(options.checkpoint_dir).absolute() / name
    told = NodesCommand(
        name=name,
        runtime=RUNTIME,
        command=["torchrun", "-m", module],
        arguments=list(_arguments(options, folder)),
        nodes=options.nodes,
        processes=options.processes,
        accelerator=_GPU if _on_gpus(options) else "",
        variables=_VARIABLES,
        room=mapped_bytes(options.dataset_dir),
    )
    run = TrainJobRun(cluster=cluster, document=render(told, pod))
    _give(_inputs(options), folder)
    missing = (
        f"TrainJob {name}: is complete, but {folder} has no model and curve, as if somebody had tidied up; start "
        "the same again, which goes on from the checkpoints"
    )
    end = follow_with_folder(run, folder, lambda: _take(folder, options), missing)
    if not end.complete:
        logger.error("TrainJob %s failed (%s); what its nodes said is above", name, end.why)
        sys.exit(1)
    logger.info("TrainJob %s: complete; written to %s", name, options.model_dir)


def _inputs(options: Settings) -> dict[str, Path]:
    return {
        "dataset": options.dataset_dir,
        **({"initial-model": options.initial_model} if options.initial_model else {}),
    }


def _digest(options: Settings, pod: Document) -> str:
    """Return what tells this training, in this run of a pipeline, from others: the settings and all that is read."""
    run = pod["metadata"].get("labels", {}).get(WORKFLOW_LABEL, "")
    found = hashlib.sha256(repr([run, options.nodes, options.processes, *_values(options)]).encode())
    for kind, folder in _inputs(options).items():
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            found.update(f"{kind}/{path.relative_to(folder)} {content}\n".encode())
    return found.hexdigest()


def _arguments(options: Settings, folder: Path) -> Iterator[str]:
    """Yield the command line of each process: all flags but those that say how it is started."""
    yield f"--dataset-dir={folder / 'dataset'}"
    if options.initial_model:
        yield f"--initial-model={folder / 'initial-model'}"
    yield from (f"{flag}={value}" for flag, value in _values(options))
    yield f"--checkpoint-dir={folder.parent}"
    yield f"--model-dir={folder / 'model'}"
    yield f"--curve={folder / 'curve.parquet'}"


def _values(options: Settings) -> Iterator[tuple[str, str]]:
    for one in described(Settings):
        if isinstance(one.note, Flag) and one.name not in _OWN_FLAGS:
            yield one.flag, str(one.as_argument(getattr(options, one.name)))


def _on_gpus(options: Settings) -> bool:
    return options.device == "cuda" or (options.device == "auto" and os.environ.get(DEVICE_VARIABLE) == "cuda")


def _give(inputs: dict[str, Path], folder: Path) -> None:
    """Copy what the stage was given for the nodes; what an attempt before copied is the same, and may be in use."""
    missing = {kind: source for kind, source in inputs.items() if not (folder / kind).is_dir()}
    try:
        for kind, source in missing.items():
            copy_folder(source, folder / kind, STAGE)
    except BaseException:
        if missing == inputs:
            remove_folder(folder)
        raise


def _take(folder: Path, options: Settings) -> bool:
    """Copy what the nodes wrote to the stage's outputs; return whether it was there."""
    model, curve = folder / "model", folder / "curve.parquet"
    if not model.is_dir() or not curve.is_file():
        return False
    copy_folder(model, options.model_dir, STAGE)
    with whole_file(options.curve) as partial:
        shutil.copyfile(curve, partial)
    return True

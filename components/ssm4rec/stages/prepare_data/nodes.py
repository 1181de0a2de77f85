"""Preparing a data set by several nodes of the cluster that this stage runs in: a RayJob, made of the stage's settings.

The nodes share the volume of ``--cache-dir``. In a folder of it, named after the RayJob, they find their command and
leave the dataset folder; when the RayJob has ended, the stage copies that to its output and removes the folder.
"""

import hashlib
import logging
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ssm4rec.data.data_sets import read_addresses
from ssm4rec.data.locations import local_path
from ssm4rec.runtime.cluster import Cluster, Document
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import whole_file
from ssm4rec.runtime.rayjob import RayCommand, render
from ssm4rec.runtime.rayjob_run import RayJobRun
from ssm4rec.runtime.shared_folder import check_read_by_several, copy_folder, follow_with_folder
from ssm4rec.runtime.task_pod import WORKFLOW_LABEL, claim_of, job_name
from ssm4rec.settings.flags import Flag, described
from ssm4rec.stages.prepare_data.settings import Settings

logger = logging.getLogger(__name__)

_VARIABLES: Final = (
    "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID", "SSM4REC_TRACKING_SECONDS",
    "AWS_ENDPOINT_URL_S3", "AWS_REGION",
)  # fmt: skip
"""What the nodes have of this task; secrets stay references to where the task has them from."""
_OWN_FLAGS: Final = ("nodes", "cache_dir")
"""Flags that say where the work is done."""
_COMMAND: Final = "command.sh"
"""The command line, in a file: on its way to Ray two shells and Ray's own quotes would read it."""
_PLAIN: Final = re.compile(r"[\w./-]+", re.ASCII)


def prepare_on_nodes(options: Settings, module: str) -> None:
    """Prepare ``module``'s way on ``options.nodes`` nodes and write the dataset folder.

    Asked again with the same settings in the same run of a pipeline, it follows the RayJob of before. Exit with the
    status of the process there if that failed; its own message stands among its lines.
    """
    cluster = Cluster.found()
    pod = cluster.own_pod()
    cache = Path(options.cache_dir).absolute()
    if not _PLAIN.fullmatch(str(cache)):
        raise InputError(f"--cache-dir {cache}: with --nodes only letters, digits, '.', '_', '-' and '/' are possible")
    check_read_by_several(cluster, pod, cache, "--cache-dir", options.nodes)
    for address in read_addresses(options.source_options()):
        if (path := local_path(address)) is not None:
            claim_of(pod, path, "source")
    name = job_name("prepare", options.called(), _digest(options, pod))
    folder = cache / "ray" / name
    told = RayCommand(
        name=name,
        entrypoint=f"sh {folder / _COMMAND}",
        workers=options.nodes,
        ray_version=version("ray"),
        variables=_VARIABLES,
    )
    run = RayJobRun(cluster=cluster, document=render(told, pod))
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / _COMMAND) as partial:
        partial.write_text(f"exec {shlex.join([sys.executable, '-m', module, *_arguments(options, folder)])}\n")

    def take() -> bool:
        written = folder / "dataset"
        if there := written.is_dir():
            copy_folder(written, options.dataset_dir, "prepare_data")
        return there

    missing = (
        f"RayJob {name}: is complete, but {folder} has no dataset folder, as if somebody had tidied up; start the "
        "same again"
    )
    end = follow_with_folder(run, folder, take, missing)
    if not end.complete:
        logger.error("RayJob %s failed (%s); what it said is above", name, end.why)
        sys.exit(end.status)
    logger.info("RayJob %s: complete; written to %s", name, options.dataset_dir)


def _digest(options: Settings, pod: Document) -> str:
    """Return what tells this preparation, in this run of a pipeline, from others."""
    run = pod["metadata"].get("labels", {}).get(WORKFLOW_LABEL, "")
    return hashlib.sha256(repr([run, options.nodes, *_values(options)]).encode()).hexdigest()


def _arguments(options: Settings, folder: Path) -> Iterator[str]:
    """Yield the command line of the process on the head: all flags but those that say where it works."""
    yield from (f"{flag}={value}" for flag, value in _values(options))
    yield f"--cache-dir={Path(options.cache_dir).absolute()}"
    yield f"--dataset-dir={folder / 'dataset'}"


def _values(options: Settings) -> Iterator[tuple[str, str]]:
    for one in described(Settings):
        if isinstance(one.note, Flag) and one.name not in _OWN_FLAGS:
            yield one.flag, str(one.as_argument(getattr(options, one.name)))

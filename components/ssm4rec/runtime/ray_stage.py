"""A stage's process on a Ray cluster that is made for it: what it is told and given, its end, and what it wrote.

The nodes share a volume. In a folder of it, named after the RayJob, the process on the head finds its command and what
the stage was given, and leaves the folder that the stage is to write; when the RayJob has ended, the stage copies that
to its output and removes the folder of the name.
"""

import logging
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from ssm4rec.runtime.cluster import Cluster, Document
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.extras import Extra, check_installed
from ssm4rec.runtime.files import whole_file
from ssm4rec.runtime.rayjob import RayCommand, render
from ssm4rec.runtime.rayjob_run import RayJobRun
from ssm4rec.runtime.shared_folder import check_read_by_several, copy_folder, follow_with_folder, give_folders

logger = logging.getLogger(__name__)

_VARIABLES: Final = (
    "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID", "SSM4REC_TRACKING_SECONDS",
    "AWS_ENDPOINT_URL_S3", "AWS_REGION",
)  # fmt: skip
"""What the nodes have of this task; secrets stay references to where the task has them from."""
_COMMAND: Final = "command.sh"
"""The command line, in a file: on its way to Ray two shells and Ray's own quotes would read it."""
_PLAIN: Final = re.compile(r"[\w./-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class StageOnRay:
    """A stage's process on the head, and the nodes that work for it.

    Attributes:
        module, arguments: the process; the flags of ``inputs`` and ``output`` come after the arguments.
        folder: named as the RayJob, on a volume that all nodes mount.
        inputs: folders of this pod that the process reads, by their flags, such as ``dataset-dir``.
        output: the flag of the folder that it writes.
        nodes: besides the head.
        gpus: of each of them.
    """

    module: str
    arguments: Sequence[str]
    folder: Path
    inputs: Mapping[str, Path] = field(default_factory=dict)
    output: str
    nodes: int
    gpus: int = 0

    @property
    def stage(self) -> str:
        """The stage's name."""
        return self.module.rpartition(".")[2]

    @property
    def command(self) -> str:
        """A line of shell that becomes the process."""
        folders = [f"--{flag}={self.folder / flag}" for flag in (*self.inputs, self.output)]
        return f"exec {shlex.join([sys.executable, '-m', self.module, *self.arguments, *folders])}\n"


def check_place(cluster: Cluster, pod: Document, place: Path, flag: str, nodes: int) -> None:
    """Raise InputError, naming ``flag``, if folders in ``place`` cannot be named to Ray, or not all nodes mount it."""
    if not _PLAIN.fullmatch(str(place)):
        raise InputError(f"{flag} {place}: with --nodes only letters, digits, '.', '_', '-' and '/' are possible")
    check_read_by_several(cluster, pod, place, flag, nodes)


def run_on_ray(told: StageOnRay, cluster: Cluster, pod: Document, target: Path) -> None:
    """Run a stage's process on nodes like this pod, and copy the folder that it wrote to ``target``.

    Asked again with a folder of the same name, it follows the RayJob of before. Exit with the status of the process
    there if that failed; its own message stands among its lines. Raise InputError if this image has no Ray, or what
    ``JobRun.follow`` raises.
    """
    check_installed(Extra.RAY, f"--nodes {told.nodes}", "leave the flag out")
    folder, name = told.folder, told.folder.name
    command = RayCommand(
        name=name,
        entrypoint=f"sh {folder / _COMMAND}",
        workers=told.nodes,
        ray_version=version("ray"),
        gpus=told.gpus,
        variables=_VARIABLES,
    )
    run = RayJobRun(cluster=cluster, document=render(command, pod))
    give_folders(told.inputs, folder, told.stage)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / _COMMAND) as partial:
        partial.write_text(told.command)

    def take() -> bool:
        written = folder / told.output
        if there := written.is_dir():
            copy_folder(written, target, told.stage)
        return there

    missing = (
        f"RayJob {name}: is complete, but {folder / told.output} is not there, as if somebody had tidied up; start the "
        "same again"
    )
    end = follow_with_folder(run, folder, take, missing)
    if not end.complete:
        logger.error("RayJob %s failed (%s); what it said is above", name, end.why)
        sys.exit(end.status)
    logger.info("RayJob %s: complete; written to %s", name, target)

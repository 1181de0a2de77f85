"""What a stage's container is on this machine: a process of this Python, or the image in a Docker engine.

``make run RUNNER=process`` needs nothing but this project's environment; ``RUNNER=docker`` runs the very images of a
cluster, as the owner of the study's folder and with a read-only root file system.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final

import docker
import docker.errors
from docker.models.containers import Container
from docker.types import DeviceRequest, Mount
from kfp import local

from ssm4rec.errors import InputError
from ssm4rec.images import CPU_IMAGE, TRAIN_IMAGE

PASSED_ON: Final = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION",
    "AWS_DEFAULT_REGION", "MLFLOW_", "SSM4REC_", "OMP_NUM_THREADS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
"""Variables of this process, by how their names begin, that containers get, too; none that names a file here."""


class HostProcesses:
    """Every stage is a process of this Python; the image's name is left aside."""

    def kfp_runner(self) -> local.SubprocessRunner:
        """Return what kfp.local is told."""
        return local.SubprocessRunner(use_venv=False)

    def run(self, image: str, command: list[str], environment: dict[str, str], show: Callable[[str], None]) -> int:  # noqa: ARG002
        """Run a stage to its end; ``show`` gets each line of its output. Return the exit status, 128 + a signal's."""
        # Only the program's name: an argument of the user's may well read "python".
        command = [sys.executable if command[0] == "python" else command[0], *command[1:]]
        with subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as running:
            for line in running.stdout or ():
                show(line.rstrip("\n"))
        return running.returncode if running.returncode >= 0 else 128 - running.returncode


@dataclass
class Containers:
    """Every stage is a container of its image in the engine that DOCKER_HOST names (or the usual socket).

    Attributes:
        folder: the study's; mounted at the same path, and whose owner the stages run as.
        readable: files and folders outside of it that stages read, such as the events.
    """

    folder: Path
    readable: list[Path]
    _running: dict[str, Container] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Look for the engine and the images before anything runs.

        Raises:
            InputError: one of them is missing.
        """
        try:
            self._engine = docker.from_env()
            self._engine.ping()
        except docker.errors.DockerException as error:
            raise InputError(
                f"--runner docker: no Docker engine answers ({error}); start it or set DOCKER_HOST"
            ) from None
        for image in sorted({CPU_IMAGE, TRAIN_IMAGE}):
            try:
                self._engine.images.get(image)
            except docker.errors.ImageNotFound:
                raise InputError(
                    f"--runner docker: the engine has no image {image}; build it (make images) or pull it; without a "
                    "GPU, ACCELERATOR=cpu trains in the CPU image"
                ) from None
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def kfp_runner(self) -> local.DockerRunner:
        """Return what kfp.local is told: its DockerRunner, with the arguments of every container."""
        owner = self.folder.stat()
        mounts = [Mount(str(self.folder), str(self.folder), type="bind")]
        mounts += [Mount(str(path), str(path), type="bind", read_only=True) for path in self.readable]
        return local.DockerRunner(
            user=f"{owner.st_uid}:{owner.st_gid}",
            mounts=mounts,
            network_mode="host",
            read_only=True,
            tmpfs={"/tmp": "mode=1777"},
            shm_size="1g",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
        )

    def run(self, image: str, command: list[str], environment: dict[str, str], show: Callable[[str], None]) -> int:
        """Run a stage to its end; ``show`` gets each line of its output. Return the exit status.

        kfp.local's own way (2.17.0) takes a container for successful whose removal overtakes the question for its
        status; this one removes it itself, afterwards.
        """
        passed_on = {name: value for name, value in os.environ.items() if name.startswith(PASSED_ON)}
        arguments: dict[str, Any] = dict(self.kfp_runner().container_run_args)
        if image == TRAIN_IMAGE != CPU_IMAGE:
            arguments["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
        container = self._engine.containers.run(
            image, command, environment={**passed_on, **environment}, detach=True, **arguments
        )
        with self._lock:
            self._running[container.id] = container
        try:
            rest = b""
            for piece in container.logs(stream=True, follow=True):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    show(line.decode(errors="replace"))
            if rest:
                show(rest.decode(errors="replace"))
            return int(container.wait()["StatusCode"])
        finally:
            with self._lock:
                del self._running[container.id]
            container.remove(force=True)

    def _stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's arguments
        """End the containers; the main thread waits for their stages, and then for nothing more."""
        for container in list(self._running.values()):
            container.kill()
        raise KeyboardInterrupt


Runner = HostProcesses | Containers

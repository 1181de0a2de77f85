"""What a stage's container is on this machine: a process of this Python, or the image in a Docker engine.

``make run RUNNER=process`` needs only this project's environment; ``RUNNER=docker`` runs the very images of a
cluster, as the owner of the study's folder and with a read-only root file system.
"""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import docker
import docker.errors
from docker.models.containers import Container
from docker.types import DeviceRequest, Mount
from kfp import local

import ssm4rec
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.images import CPU_IMAGE, LLM_IMAGE, TRAIN_IMAGE
from ssm4rec.runtime.signals import child_variables, ending_children

_PACKAGE: Final = Path(ssm4rec.__file__).parent

PASSED_ON: Final = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION",
    "AWS_DEFAULT_REGION", "MLFLOW_", "SSM4REC_", "OMP_NUM_THREADS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
)  # fmt: skip
"""Variables of this process, by how their names begin, that containers get, too; none that names a file here."""

ENDING_SECONDS: Final = 20.0
"""How long a stage that was asked to end may take before it is killed: it tells MLflow, and finishes a native call."""

_WAKING_SECONDS: Final = 0.5


@dataclass
class _Stages:
    """Stages that run, and how they end with this process; ``ending``: a signal has arrived, no further one starts."""

    ending: bool = field(default=False, init=False)
    _asked: "SimpleQueue[bool]" = field(default_factory=SimpleQueue, init=False)
    _running: list[Any] = field(default_factory=list, init=False)

    @contextmanager
    def ending_stages(self) -> Iterator[None]:
        threading.Thread(target=self._watch, daemon=True).start()
        before = signal.signal(signal.SIGURG, lambda *_: None)
        finished = threading.Event()
        threading.Thread(target=_wake, args=(threading.get_ident(), finished), daemon=True).start()
        try:
            with ending_children(self._ask):
                yield
        finally:
            finished.set()
            signal.signal(signal.SIGURG, before)
            self._asked.put(False)

    def _ask(self, number: signal.Signals) -> None:
        # In a signal handler, which must wait for no lock: the thread does the rest.
        self.ending = True
        if number == signal.SIGKILL:
            self._signal(number)
        else:
            self._asked.put(True)

    def _watch(self) -> None:
        if self._asked.get():
            self._signal(signal.SIGTERM)
            time.sleep(ENDING_SECONDS)
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        for running in list(self._running):
            self._send(running, number)

    def _send(self, running: Any, number: signal.Signals) -> None:
        raise NotImplementedError


@dataclass
class HostProcesses(_Stages):
    """Every stage is a process of this Python; the image's name is ignored.

    Each leads a session of its own: Ctrl-C in a terminal reaches this process alone, which passes one signal on.
    """

    def code_version(self) -> str:
        """Return what tells the code of the stages from an older or newer state of it: a digest of its files."""
        digest = hashlib.sha256()
        for path in sorted(_PACKAGE.rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(_PACKAGE)}\n".encode())
                digest.update(path.read_bytes())
        return f"{ssm4rec.__version__}-{digest.hexdigest()[:12]}"

    def kfp_runner(self) -> local.SubprocessRunner:
        """Return what kfp.local is told."""
        return local.SubprocessRunner(use_venv=False)

    def run(self, image: str, command: list[str], environment: dict[str, str], show: Callable[[str], None]) -> int:  # noqa: ARG002
        """Run a stage to its end; ``show`` gets each line of its output. Return the exit status, 128 + a signal's."""
        # Only the program's name: an argument of the user's may well read "python".
        command = [sys.executable if command[0] == "python" else command[0], *command[1:]]
        with subprocess.Popen(
            command,
            env={**os.environ, **environment, **child_variables()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as running:
            self._running.append(running)
            try:
                if self.ending:  # while it was being started
                    self._send(running, signal.SIGTERM)
                for line in running.stdout or ():
                    show(line.rstrip("\n"))
                running.wait()
            finally:
                self._end(running)
                self._running.remove(running)
        return running.returncode if running.returncode >= 0 else 128 - running.returncode

    def _end(self, running: "subprocess.Popen[str]") -> None:
        if running.poll() is None:
            self._send(running, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                running.wait(ENDING_SECONDS)
        self._send(running, signal.SIGKILL)  # or what it may have left of its own
        running.wait()

    def _send(self, running: "subprocess.Popen[str]", number: signal.Signals) -> None:
        # The group's number is given to nobody else as long as one of it runs.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(running.pid, number)


@dataclass
class Containers(_Stages):
    """Every stage is a container of its image in the engine that DOCKER_HOST names (or the usual socket).

    The study's ``folder`` is mounted at the same path, and its owner is whom the stages run as; ``readable`` are files
    and folders outside of it that stages read, such as the events.
    """

    folder: Path
    readable: list[Path]

    def __post_init__(self) -> None:
        """Look for the engine and the images before anything runs; raise InputError if one of them is missing."""
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

    def code_version(self) -> str:
        """Return what tells the code of the stages from an older or newer state of it: a digest of the images."""
        ids = [self._image_id(image) for image in sorted({CPU_IMAGE, TRAIN_IMAGE, LLM_IMAGE})]
        return f"images-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:12]}"

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
        self._running.append(container)
        try:
            if self.ending:  # while it was being started
                self._send(container, signal.SIGTERM)
            rest = b""
            for piece in container.logs(stream=True, follow=True):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    show(line.decode(errors="replace"))
            if rest:
                show(rest.decode(errors="replace"))
            return int(container.wait()["StatusCode"])
        finally:
            self._running.remove(container)
            container.remove(force=True)

    def _image_id(self, image: str) -> str:
        try:
            return str(self._engine.images.get(image).id)
        except docker.errors.ImageNotFound:  # a study without language models needs no image for them
            return ""

    def _send(self, running: Container, number: signal.Signals) -> None:
        with suppress(docker.errors.APIError):  # it has ended
            running.kill(number.name)


Runner = HostProcesses | Containers


def _wake(thread: int, finished: threading.Event) -> None:
    # The kernel may hand a signal to any thread, but Python's handler runs in the main one, which waits for kfp's.
    while not finished.wait(_WAKING_SECONDS):
        signal.pthread_kill(thread, signal.SIGURG)

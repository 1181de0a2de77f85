"""A Docker engine for the tests: the one that answers, or one of their own for their length.

An engine of their own has no network but the machine's, keeps everything in a temporary folder, and needs root and
Debian's packages, which it installs if they are missing. It can pull nothing where there is no registry, so its base
image is made of Debian's packages, too.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

BASE_IMAGE = "ssm4rec-tests-base:1"
PROGRAMS = {"dockerd": "docker.io", "mmdebstrap": "mmdebstrap"}
"""What an engine of our own takes, and Debian's packages of it."""
BUILD_FLAGS = "SSM4REC_BUILD_FLAGS"
"""Variable with flags of images/build.py, for an engine that is there already: ``--base-image NAME``, for example."""


@dataclass(frozen=True)
class Engine:
    """How to reach the engine, and how images/build.py builds on it.

    Attributes:
        variables: of docker's clients.
        build_flags: of images/build.py.
    """

    variables: dict[str, str]
    build_flags: list[str]

    def docker(self, *arguments: str) -> str:
        """Run a docker command and return what it printed, errors included."""
        done = self.try_docker(*arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stdout}"
        return done.stdout

    def try_docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a docker command that may fail."""
        environment = {**os.environ, **self.variables}
        return subprocess.run(
            ["docker", *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Yield an engine that answers; skip the tests where none can be had."""
    present = Engine({}, os.environ.get(BUILD_FLAGS, "").split())
    if _answers(present):
        yield present
        return
    if os.geteuid():
        pytest.skip("no Docker engine answers, and only root starts one: start it, or set DOCKER_HOST")
    _install([package for program, package in PROGRAMS.items() if not shutil.which(program)])
    # Not pytest's own folder: that one stays for three runs, and gigabytes would.
    folder = Path(tempfile.mkdtemp(prefix="ssm4rec-docker-"))
    try:
        with _own_engine(folder) as engine:
            _import_base_image(engine, folder)
            yield engine
    finally:
        _remove(folder)


def _answers(engine: Engine) -> bool:
    try:
        return engine.try_docker("info", "--format", "{{.ServerVersion}}").returncode == 0
    except FileNotFoundError:
        return False


def _install(packages: list[str]) -> None:
    if not packages:
        return
    if not shutil.which("apt-get"):
        pytest.skip(f"no Docker engine answers, and this is no Debian to install {', '.join(packages)} on")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
        subprocess.run(["apt-get", "--quiet", *command], env=environment, check=True)


@contextmanager
def _own_engine(folder: Path) -> Iterator[Engine]:
    socket = f"unix://{folder}/docker.sock"
    command = [
        "dockerd", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--host={socket}",
        f"--pidfile={folder}/docker.pid", "--iptables=false", "--bridge=none",
        # A sandbox may refuse the engine's own, higher limits.
        "--default-ulimit=nofile=4096:4096", "--default-ulimit=nproc=16384:16384",
    ]  # fmt: skip
    # The builder of BuildKit is a plugin that Debian's packages do not have.
    engine = Engine({"DOCKER_HOST": socket, "DOCKER_BUILDKIT": "0"}, ["--network", "host", "--base-image", BASE_IMAGE])
    log = folder / "dockerd.log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as server:
        try:
            deadline = time.monotonic() + 60
            while not _answers(engine):
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail("dockerd does not start:\n" + "\n".join(log.read_text().splitlines()[-15:]))
                time.sleep(0.5)
            yield engine
        finally:
            server.terminate()


def _import_base_image(engine: Engine, folder: Path) -> None:
    """Make the image of this machine's own Debian release, from where this machine has its packages."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    targets = ["apt-get", "indextargets", "--format", "$(CODENAME) $(SITE)", "Created-By: Packages", "Origin: Debian"]
    lines = subprocess.check_output(targets, text=True).splitlines()
    mirror = dict(line.split() for line in lines)[release]
    archive = folder / "base.tar"
    packages = "ca-certificates,python3,python3-pip,python3-venv"
    subprocess.run(
        ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", release, str(archive), mirror],
        check=True,
    )
    engine.docker("import", str(archive), BASE_IMAGE)
    archive.unlink()


def _remove(folder: Path) -> None:
    """Remove an engine's folder, with what is still mounted in it if the engine did not end well."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted(mounted, reverse=True):
        if place.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", place], check=False)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)

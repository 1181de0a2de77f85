"""A server of Ray's that is killed ends the process with status 2 and a line, wherever its main thread is."""

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.processes import descendants

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra ray, is not installed")

# -3: DEVNULL, since they outlive the process, and whoever reads its output would wait for them.
STAND_IN = """
import ctypes, logging, subprocess, sys, time
from ssm4rec.runtime import ray_servers
logging.basicConfig(format="%(message)s")
ray_servers._EVERY, ray_servers._RAYS_OWN = 0.05, 0.2
with ray_servers.watched("leave --workers out"):
    servers = [subprocess.Popen([program, "20"], stdout=-3, stderr=-3) for program in sys.argv[2:]]
    time.sleep(0.5)
    if sys.argv[1] == "killed":
        servers[-1].kill()
        ctypes.CDLL(None).sleep(15)  # as in C++, where no exception arrives
for server in servers:
    server.kill()
time.sleep(0.5)
print("over")
"""
REAL = """
import logging, time
from ssm4rec.runtime.ray_cluster import ray_cluster
logging.basicConfig(format="%(message)s")
with ray_cluster(1, 0, "leave --workers out"):
    time.sleep(300)
"""


@pytest.fixture
def programs(tmp_path: Path) -> list[str]:
    """Programs that sleep, called as Ray's servers are, and one that is not."""
    sleep = shutil.which("sleep")
    assert sleep
    return [shutil.copy(sleep, tmp_path / name) for name in ("another", "raylet", "gcs_server")]


def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", STAND_IN, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_killed_server_ends_the_process(programs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/elsewhere")
    done = run("killed", *programs)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: Ray's process gcs_server has ended (killed, or /elsewhere/ray/session_latest/logs says why); run the "
        "command again, or leave --workers out\n"
    )


def test_one_that_is_killed_before_anybody_saw_it(programs: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN.replace("sleep(0.5)", "sleep(0)", 1), "killed", *programs],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Ray's process gcs_server has ended (killed, or ")


def test_those_of_a_ray_before_are_nobodys_fault(programs: list[str]) -> None:
    """Ended, and nobody has waited for them."""
    lines = (
        STAND_IN.partition("with ray_servers")[0]
        + """
servers = [subprocess.Popen([program, "20"]) for program in sys.argv[2:]]
for server in servers:
    server.kill()
with ray_servers.watched("leave --workers out"):
    time.sleep(1)
print("over")
"""
    )
    done = subprocess.run([sys.executable, "-c", lines, "-", *programs], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


def test_servers_that_run_and_servers_that_end_after_the_work_are_nobodys_fault(programs: list[str]) -> None:
    done = run("kept", *programs)
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


def test_other_processes_may_end(programs: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN.replace("sleep(15)", "sleep(1)"), "killed", *programs[1:], programs[0]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "over\n", "")


@needs_ray
@pytest.mark.slow  # Ray's start takes half a minute on busy cores, and more to notice
def test_ray_itself_without_its_server(tmp_path: Path) -> None:
    """Killed once Ray has started something else with it: then Ray waits for minutes, and ends with status 1."""
    with (tmp_path / "log").open("w") as log:
        running = subprocess.Popen([sys.executable, "-c", REAL], stdout=log, stderr=log)
    killed = 0
    while running.poll() is None:
        found = {number: name.partition("\0")[0] for number, name in descendants(running.pid)}
        servers = [number for number, name in found.items() if name.endswith("/gcs_server")]
        if servers and len(found) > 1 and not killed:
            killed = servers[0]
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.1)
    assert killed
    *_, last = (tmp_path / "log").read_text().splitlines()
    assert running.returncode == 2, last
    assert last.startswith("error: Ray's process gcs_server has ended (killed, or ")

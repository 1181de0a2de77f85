"""``make mlflow``: the page that people want, a port that is taken, a store that was moved."""

import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from ssm4rec.tracking import start_study, tracked_task
from ssm4rec.tracking.__main__ import wants_browser
from tests.mlflow_stores import new_store

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of MLflow's own store


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of runs that was moved, and copied: its former place holds another note."""
    before, folder = (tmp_path_factory.mktemp(name) / "runs" for name in ("before", "after"))
    before.mkdir()
    (before / "note.txt").write_text("kept")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", new_store(before / "mlflow.db"))
        start_study("study", {"stage": "study"})[0].finish("FINISHED")
        with tracked_task("sasrec s0", {"stage": "evaluate"}) as tracker:
            tracker.artifact(before / "note.txt")
        shutil.copytree(before, folder)
        yield folder


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A program for ``$BROWSER`` that stays, and the file to which it adds the addresses that it is to open."""
    opened, program, process = (tmp_path / name for name in ("opened", "browser", "process"))
    program.write_text(f"#!/bin/sh\necho $$ > '{process}'\necho \"$@\" >> '{opened}'\nexec sleep 600\n")
    program.chmod(0o755)
    yield program, opened
    if process.exists():
        os.kill(int(process.read_text()), signal.SIGTERM)


def test_the_page_is_opened_on_a_terminal_once_the_server_answers(runs: Path, browser: tuple[Path, Path]) -> None:
    program, opened = browser
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    command = [sys.executable, "-m", "ssm4rec.tracking", str(runs / "mlflow.db"), "--port", str(port)]
    ours, its = pty.openpty()
    environment = os.environ | {"BROWSER": str(program)}
    with subprocess.Popen(command, stdout=its, stderr=subprocess.DEVNULL, env=environment) as server:
        os.close(its)
        while not opened.exists() or not opened.read_text():
            assert server.poll() is None
            time.sleep(0.2)
        (page,) = opened.read_text(encoding="utf-8").splitlines()
        answered = requests.get(page, timeout=60)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 128 + signal.SIGTERM, "a browser in the foreground does not hold it up"
    os.close(ours)
    wanted = f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=ssm4rec"
    assert (page, answered.status_code) == (wanted, 200)


@pytest.mark.parametrize(
    ("terminal", "environment", "wanted"),
    [
        (True, {"BROWSER": "firefox"}, True),
        (True, {"DISPLAY": ":0"}, True),
        (True, {"WAYLAND_DISPLAY": "wayland-0"}, True),
        (True, {}, sys.platform == "darwin"),
        (True, {"BROWSER": "none", "DISPLAY": ":0"}, False),
        (False, {"BROWSER": "firefox", "DISPLAY": ":0"}, False),
    ],
)
def test_no_browser_without_a_terminal_a_display_or_where_none_is_wanted(
    terminal: bool, environment: dict[str, str], wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, its = pty.openpty()
    with os.fdopen(its, "w") as on_terminal, open(os.devnull, "w") as elsewhere:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stdout", on_terminal if terminal else elsewhere)
        assert wants_browser(environment) == wanted
    os.close(ours)


def test_server_says_the_page_shows_a_moved_folder_and_ends_when_told(runs: Path, browser: tuple[Path, Path]) -> None:
    program, opened = browser
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    next(runs.parents[1].rglob("before*/runs/mlflow-artifacts/*/artifacts/note.txt")).write_text("of another store")
    command = [sys.executable, "-m", "ssm4rec.tracking", str(runs / "mlflow.db"), "--port", str(port)]
    page = f"http://127.0.0.1:{port}/#/experiments/1/runs?workflowType=machine_learning&viewStateShareKey=ssm4rec"
    environment = os.environ | {"BROWSER": str(program)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as server:
        assert server.stdout
        assert server.stdout.readline() == f"MLflow starts; the page of the runs will be {page}\n"
        lines = iter(server.stdout)
        assert next(line for line in lines if "answers" in line) == f"MLflow answers (Ctrl-C ends it): {page}\n"
        client = MlflowClient(f"http://127.0.0.1:{port}")
        (run,) = client.search_runs(["1"], "tags.stage = 'evaluate'")
        found = {"run_id": run.info.run_id, "path": "note.txt"}
        kept = requests.get(f"http://127.0.0.1:{port}/get-artifact", found, timeout=60)
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 128 + signal.SIGTERM
    assert (kept.status_code, kept.text) == (200, "kept")
    assert not opened.exists(), "the output is a pipe: nobody waits for a page"
    with pytest.raises(requests.ConnectionError):
        requests.get(page, timeout=5)


def test_a_taken_port_is_refused_in_one_line_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "ssm4rec.tracking", str(tmp_path / "mlflow.db"), "--port", str(port)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"--port {port}: Address already in use; choose another, such as {port + 1}" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_no_port_is_refused_in_one_line_before_anything_is_made(port: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ssm4rec.tracking", str(tmp_path / "mlflow.db"), f"--port={port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"--port {port}: at " in line
    assert not list(tmp_path.iterdir())

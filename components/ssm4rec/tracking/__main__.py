"""Make the SQLite store of runs if it is new, and show it: ``python -m ssm4rec.tracking runs/mlflow.db --port 5000``.

It is made first: a server that is ended while it makes a store leaves half of it.
"""

import argparse
import os
import signal
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.signals import ending_children
from ssm4rec.settings.command_line import StageParser, run_stage, whole_number
from ssm4rec.tracking.experiment import ARTIFACTS, SQLITE, experiment_name, keep_view, page_address
from ssm4rec.tracking.ports import free_port, taken
from ssm4rec.tracking.store import store_client


def run(options: argparse.Namespace) -> None:
    """Make the store; with a port, start MLflow's server, say where to look, open it there, and end with it."""
    store = options.store.absolute()
    if options.port:
        _refuse_taken(options.port)
    client = store_client(f"{SQLITE}{store}")
    if not options.port:
        return
    page = f"http://127.0.0.1:{options.port}"
    if found := client.get_experiment_by_name(experiment_name()):
        keep_view(client, found.experiment_id)
        page = page_address(page, found.experiment_id)
    print(f"MLflow starts; the page of the runs will be {page}", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(options.port)]
    command += ["--backend-store-uri", f"{SQLITE}{store}", "--artifacts-destination", str(store.with_name(ARTIFACTS))]
    command += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    quiet = {
        "PYTHONWARNINGS": "ignore",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    server = subprocess.Popen(command, env=os.environ | quiet, process_group=0)

    def end(number: signal.Signals) -> None:
        os.killpg(server.pid, number)

    with ending_children(end):
        try:
            while server.poll() is None and not _answers(options.port):
                time.sleep(0.5)
            if server.poll() is None:
                print(f"\nMLflow answers (Ctrl-C ends it): {page}\n", flush=True)
                if wants_browser(os.environ):
                    # Not waited for: a browser that stays in the foreground would hold up the server's end.
                    threading.Thread(target=webbrowser.open, args=(page,), daemon=True).start()
        finally:
            server.wait()
    sys.exit(server.returncode)


def wants_browser(environment: Mapping[str, str]) -> bool:
    """Return whether someone sits at a terminal and a browser of their own: not with ``BROWSER=none``."""
    if not sys.stdout.isatty() or environment.get("BROWSER") == "none":
        return False
    displays = ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")  # without any, Python would start one of text
    return sys.platform == "darwin" or any(environment.get(name) for name in displays)


def _refuse_taken(port: int) -> None:
    if problem := taken(port):
        other = free_port(port + 1)
        raise InputError(f"--port {port}: {problem}; choose another, such as {other} (make mlflow PORT={other})")


def _answers(port: int) -> bool:
    with suppress(OSError), urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
        return True
    return False


if __name__ == "__main__":
    parser = StageParser("ssm4rec.tracking", "Make an SQLite store of MLflow runs, whole or not at all, and show it.")
    parser.add_argument("store", type=Path, help="file of the store")
    parser.add_argument("--port", type=whole_number(1, 65535), default=0, help="of MLflow's pages; left out: none")
    run_stage(parser, run)

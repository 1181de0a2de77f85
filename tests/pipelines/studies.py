"""Runs a study on this machine, as ``make run`` and its like do."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_study(folder: Path, *flags: str, module: str = "pipelines.run") -> subprocess.CompletedProcess[str]:
    """Run a study in an empty folder, as ``make run`` does in the repository's."""
    hidden = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "components")]), "OMP_NUM_THREADS": "1"}
    parts = []
    if module == "pipelines.run":
        parts = ["--llm", "none", "--latency-samples", "5", "--latency-users", "20", "--latency-batches", "1,8"]
        parts += ["--global-time", "none"]
    command = [sys.executable, "-m", module, "--profile", "smoke", "--out", str(folder / "study"), *parts, *flags]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)

"""Runs a study on this machine, as ``make run`` and its like do."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mlflow import MlflowClient

ROOT = Path(__file__).parents[2]


def run_study(
    folder: Path, *flags: str, module: str = "pipelines.run", variables: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run a study in an empty folder, as ``make run`` does in the repository's."""
    hidden = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "components")]), "OMP_NUM_THREADS": "1"}
    environment |= variables
    parts = []
    if module == "pipelines.run":
        parts = ["--llm", "none", "--latency-samples", "5", "--latency-users", "20", "--latency-batches", "1,8"]
        parts += ["--global-time", "none"]
    command = [sys.executable, "-m", module, "--profile", "smoke", "--out", str(folder / "study"), *parts, *flags]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def finish_study(
    archive: Path, folder: Path, *flags: str, module: str = "pipelines.run"
) -> subprocess.CompletedProcess[str]:
    """Run a study of the archive's data, which must succeed."""
    data = ("--source", str(archive), "--any-checksum", "true", "--k-core", "2")
    done = run_study(folder, *data, *flags, module=module)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def study_metrics(folder: Path) -> dict[str, float]:
    """Return what MLflow shows of the only study that ran in a folder, without its tasks."""
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ssm4rec").experiment_id])
    (study,) = [run for run in runs if run.data.tags.get("stage") == "study"]
    metrics: dict[str, float] = study.data.metrics
    return metrics

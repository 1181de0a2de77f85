"""Runs a study on this machine, as ``make run`` and its like do."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from mlflow import MlflowClient

from pipelines.packages import COMPILED
from pipelines.spec import read_spec
from tests.mlflow_stores import new_store

ROOT = Path(__file__).parents[2]


def run_study(
    folder: Path, *flags: str, study: str = "comparative", variables: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Run a study in an empty folder, as ``make run`` does in the repository's.

    Its store of runs is there, as after an earlier study; tests/pipelines/test_ending.py has studies that make it.
    """
    hidden = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "components")]), "OMP_NUM_THREADS": "1"}
    environment |= variables
    if "MLFLOW_TRACKING_URI" not in variables and not (store := folder / "runs/mlflow.db").exists():
        new_store(store)
    parts = []
    if study == "comparative":
        parts = ["--llm", "none", "--latency-samples", "5", "--latency-users", "20", "--latency-batches", "1,8"]
        parts += ["--global-time", "none"]
    if study != "reproduction":  # whose trainings have a profile each
        parts += ["--profile", "smoke"]
    command = [sys.executable, "-m", "pipelines.run", study, "--out", str(folder / "study"), *parts, *flags]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def finish_study(
    archive: Path, folder: Path, *flags: str, study: str = "comparative"
) -> subprocess.CompletedProcess[str]:
    """Run a study of the archive's data, which must succeed."""
    data = ("--source", str(archive), "--any-checksum", "true", "--k-core", "2")
    done = run_study(folder, *data, *flags, study=study)
    assert done.returncode == 0, done.stderr + done.stdout
    return done


def started(stdout: str) -> list[str]:
    """Return the stages that a study said it started, such as ``evaluate sasrec seed 0``."""
    return re.findall(r"^\[.*?\] (.*): started,", stdout, re.MULTILINE)


def study_metrics(folder: Path) -> dict[str, float]:
    """Return what MLflow shows of the only study that ran in a folder, without its tasks."""
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ssm4rec").experiment_id])
    (study,) = [run for run in runs if run.data.tags.get("stage") == "study"]
    metrics: dict[str, float] = study.data.metrics
    return metrics


def parameters_that_kfp_logs(folder: Path) -> dict[str, set[str]]:
    """Return, for each task of a study's MLflow runs, its parameters that KFP's MLflow plugin would log otherwise.

    At the end of a task the plugin logs all of its inputs, as JSON, and all numbers of its Metrics in one batch
    (kubeflow/pipelines 2.17.0, backend/src/v2/common/plugins/mlflow/handler.go, OnTaskEnd and mapToParams). MLflow
    refuses the whole batch if a parameter has another value already: `"test"` in quotes after our `test`. A whole
    number reads the same both ways, if it is the input's.
    """
    spec = read_spec(COMPILED / "comparative_study.yaml")
    client = MlflowClient(f"sqlite:///{folder}/runs/mlflow.db")
    found = {}
    for run in client.search_runs([client.get_experiment_by_name("ssm4rec").experiment_id]):
        stage = run.data.tags["stage"].replace("_", "-")
        stage = {"prepare": "prepare-data", "train": "train-recommender"}.get(stage, stage)
        component = spec["components"].get(f"comp-{stage}")
        inputs = component["inputDefinitions"].get("parameters", {}) if component else {}
        same = {name for name, one in inputs.items() if one["parameterType"] == "NUMBER_INTEGER"} & {
            "seed",
            "resamples",
        }
        found[run.info.run_name] = set(run.data.params) & (set(inputs) - same)
    return found

"""The runs of studies and tasks: who starts them, and that they end."""

import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ssm4rec.runtime.addresses import public_text
from ssm4rec.tracking.experiment import experiment_of
from ssm4rec.tracking.names import LONGEST_NAME, cut, run_tags
from ssm4rec.tracking.tracker import PATIENCE, Tracker, end_run, patience

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

_FOLDER: Final = "folder"
_AWAY_SECONDS: Final = 10.0
"""How long a stage waits at its start whose study has found MLflow away just before."""


@contextmanager
def finished(tracker: Tracker) -> Iterator[None]:
    """End a run with the block: FINISHED, KILLED when a signal ends it, FAILED when it raises anything else."""
    try:
        yield
        tracker.finish("FINISHED")
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        raise


@contextmanager
def tracked_task(name: str, tags: dict[str, str]) -> Iterator[Tracker]:
    """Yield the task's tracker, whose run ends with the block."""

    def start(client: "MlflowClient") -> str:
        if run_id := os.environ.get("MLFLOW_RUN_ID", ""):
            client.update_run(run_id, status="RUNNING")
            return run_id
        parent = os.environ.get("MLFLOW_PARENT_RUN_ID", "")
        run = client.create_run(experiment_of(client), tags={"mlflow.parentRunId": parent} if parent else None)
        return str(run.info.run_id)

    tracker = Tracker(os.environ.get("MLFLOW_TRACKING_URI", ""), start=start)
    with finished(tracker):
        tracker.name(name, tags)
        yield tracker


def start_study(name: str, tags: dict[str, str], folder: str = "") -> tuple[Tracker, dict[str, str]]:
    """Start a study's run at MLFLOW_TRACKING_URI.

    Args:
        name, tags: of the run.
        folder: the study's own, which no other process uses now; "" if it has none. Runs of earlier studies in it that
            are still said to run were killed before they could end them: they end now.

    Returns:
        Its tracker, and the environment variables under which :func:`start_task` nests runs in it (empty when
        nothing is tracked).
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return Tracker(), {}
    experiments: list[str] = []
    # Two machines may have a folder of this name, and one store.
    recorded = run_tags({**tags, **({_FOLDER: f"{socket.gethostname()}:{folder}"} if folder else {})})

    def start(client: "MlflowClient") -> str:
        experiments[:] = [experiment_of(client)]
        _end_killed_studies(client, experiments[0], recorded.get(_FOLDER))
        run = client.create_run(experiments[0], tags=recorded, run_name=cut(public_text(name), LONGEST_NAME))
        return str(run.info.run_id)

    tracker = Tracker(uri, start=start)
    run_id = tracker.wait_for_run(patience())
    if not run_id:
        logger.warning("the study is not tracked: MLflow does not answer")
        return Tracker(), {"MLFLOW_TRACKING_URI": ""}
    return tracker, {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_ID": experiments[0], "MLFLOW_PARENT_RUN_ID": run_id}


def _end_killed_studies(client: "MlflowClient", experiment: str, folder: str | None) -> None:
    running = "tags.stage = 'study' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], running) if folder else ():
        if run.data.tags.get(_FOLDER) == folder:
            end_run(client, run, "KILLED")


def start_task(name: str, study: dict[str, str]) -> dict[str, str]:
    """Start a run nested in a study's, as KFP's plugin does for a task.

    Returns the variables by which a stage resumes the run or, where MLflow does not answer, starts it itself later.
    Those of :func:`start_study`, ``study``, remember whether MLflow was away.
    """
    if "MLFLOW_PARENT_RUN_ID" not in study:
        return dict(study)

    def start(client: "MlflowClient") -> str:
        parent = {"mlflow.parentRunId": study["MLFLOW_PARENT_RUN_ID"]}
        run = client.create_run(study["MLFLOW_EXPERIMENT_ID"], tags=parent, run_name=cut(name, LONGEST_NAME))
        return str(run.info.run_id)

    run_id = Tracker(study["MLFLOW_TRACKING_URI"], start=start).wait_for_run(float(study.get(PATIENCE, patience())))
    if not run_id:
        study[PATIENCE] = str(_AWAY_SECONDS)
        return dict(study)
    study.pop(PATIENCE, None)
    return {**study, "MLFLOW_RUN_ID": run_id}


def end_task(task: dict[str, str], status: str) -> None:
    """End a task's run if its stage did not, such as one that was killed; ``status`` is FINISHED, FAILED or KILLED."""
    if "MLFLOW_RUN_ID" in task:
        Tracker(task["MLFLOW_TRACKING_URI"], task["MLFLOW_RUN_ID"]).finish(status, unless_ended=True)

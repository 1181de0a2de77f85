"""The runs of studies and tasks: who starts them, that they end, and that what is resumed goes on in the run it had.

A run that may be resumed is known by its tag ``resume_key``: a study's says which study it is in which folder, a
task's which command it is, within the study's run.
"""

import hashlib
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
    from mlflow.entities import Run

logger = logging.getLogger(__name__)

_FOLDER: Final = "folder"
_KEY: Final = "resume_key"
_KEY_VARIABLE: Final = "SSM4REC_RESUME_KEY"
"""By which a stage that starts its run itself, because MLflow was away before, knows it."""
_PARENT: Final = "mlflow.parentRunId"
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
        named = {_PARENT: os.environ.get("MLFLOW_PARENT_RUN_ID", ""), _KEY: os.environ.get(_KEY_VARIABLE, "")}
        return _open(client, experiment_of(client), {tag: value for tag, value in named.items() if value})

    tracker = Tracker(os.environ.get("MLFLOW_TRACKING_URI", ""), start=start)
    with finished(tracker):
        tracker.name(name, tags)
        yield tracker


def start_study(
    name: str, tags: dict[str, str], folder: str = "", question: str = "", *, again: bool = False
) -> tuple[Tracker, dict[str, str]]:
    """Start a study's run at MLFLOW_TRACKING_URI, or resume the one that the same study has in this folder.

    Args:
        name, tags: of the run.
        question: all that the study was asked, in words of its own. Other models, say, are another study: a loop gives
            their tasks the places of the earlier ones, and a run would get the figures of two.
        folder: the study's own, which no other process uses now; "" if it has none. Runs of earlier studies in it that
            are still said to run were killed before they could end them: they end now.
        again: the study has finished before: of a run that says so nothing changes.

    Returns:
        Its tracker, and the environment variables under which :func:`start_task` nests runs in it (empty when
        nothing is tracked).
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return Tracker(), {}
    experiments: list[str] = []
    left_alone: list[str] = []
    # Two machines may have a folder of this name, and one store.
    owned = {**tags, _FOLDER: f"{socket.gethostname()}:{folder}"} if folder else tags
    recorded = run_tags({**owned, _KEY: _digest(*sorted(owned.values()), question)} if folder else tags)

    def start(client: "MlflowClient") -> str:
        experiments[:] = [experiment_of(client)]
        _end_killed_studies(client, experiments[0], recorded.get(_FOLDER))
        found = _found(client, experiments[0], recorded)
        if again and found and found.info.status == "FINISHED":
            left_alone[:] = [found.info.run_id]
            return left_alone[0]
        return _open(client, experiments[0], recorded, cut(public_text(name), LONGEST_NAME))

    tracker = Tracker(uri, start=start)
    run_id = tracker.wait_for_run(patience())
    if not run_id:
        logger.warning("the study runs without tracking: nothing of it is recorded in MLflow")
        return Tracker(), {"MLFLOW_TRACKING_URI": ""}
    variables = {"MLFLOW_TRACKING_URI": uri, "MLFLOW_EXPERIMENT_ID": experiments[0], "MLFLOW_PARENT_RUN_ID": run_id}
    return Tracker() if left_alone else tracker, variables


def _end_killed_studies(client: "MlflowClient", experiment: str, folder: str | None) -> None:
    running = "tags.stage = 'study' and attributes.status = 'RUNNING'"
    for run in client.search_runs([experiment], running) if folder else ():
        if run.data.tags.get(_FOLDER) == folder:
            end_run(client, run, "KILLED")


def start_task(name: str, study: dict[str, str], command: str = "") -> dict[str, str]:
    """Start a run nested in a study's, as KFP's plugin does for a task, or resume the one of the same ``command``.

    Returns the variables by which a stage resumes the run or, where MLflow does not answer, starts it itself later.
    Those of :func:`start_study`, ``study``, remember whether MLflow was away.
    """
    if "MLFLOW_PARENT_RUN_ID" not in study:
        return dict(study)

    key = _digest(command) if command else ""
    tags = {_PARENT: study["MLFLOW_PARENT_RUN_ID"], **({_KEY: key} if key else {})}

    def start(client: "MlflowClient") -> str:
        return _open(client, study["MLFLOW_EXPERIMENT_ID"], tags, cut(name, LONGEST_NAME))

    run_id = Tracker(study["MLFLOW_TRACKING_URI"], start=start).wait_for_run(float(study.get(PATIENCE, patience())))
    if not run_id:
        study[PATIENCE] = str(_AWAY_SECONDS)
        return {**study, _KEY_VARIABLE: key}
    study.pop(PATIENCE, None)
    return {**study, "MLFLOW_RUN_ID": run_id}


def end_task(task: dict[str, str], status: str) -> None:
    """End a task's run if its stage did not, such as one that was killed; ``status`` is FINISHED, FAILED or KILLED."""
    if "MLFLOW_RUN_ID" in task:
        Tracker(task["MLFLOW_TRACKING_URI"], task["MLFLOW_RUN_ID"]).finish(status, unless_ended=True)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _found(client: "MlflowClient", experiment: str, tags: dict[str, str]) -> "Run | None":
    """Return the run that has the tags' key, within the run that they name as its parent."""
    wanted = {name: tags[name] for name in (_KEY, _PARENT) if name in tags}
    if _KEY not in wanted:
        return None
    same = " and ".join(f"tags.`{name}` = '{value}'" for name, value in wanted.items())
    return next(iter(client.search_runs([experiment], same, max_results=1)), None)


def _open(client: "MlflowClient", experiment: str, tags: dict[str, str], name: str | None = None) -> str:
    """Return the id of a run that runs now: the one with the tags' key, else a new one."""
    if found := _found(client, experiment, tags):
        run_id = str(found.info.run_id)
        client.update_run(run_id, status="RUNNING")
        for tag, value in tags.items():
            client.set_tag(run_id, tag, value)
        return run_id
    return str(client.create_run(experiment, tags=tags, run_name=name).info.run_id)

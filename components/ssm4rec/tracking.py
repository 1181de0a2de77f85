"""Experiment tracking: the only module that talks to MLflow (``registry/`` writes and loads models in its format).

A stage resumes the run MLFLOW_RUN_ID if that is set (KFP's MLflow plugin and the local runner make one per task,
nested in the study's run), else starts a run of its own at MLFLOW_TRACKING_URI, else does not track. Tracking never
stops a stage: the first call that fails is reported in one warning, and the rest of the stage runs untracked.
"""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

DEFAULT_EXPERIMENT = "ssm4rec"
_LONGEST_VALUE = 6000  # MLflow's limit on a parameter's text
_LONGEST_WAIT = 30  # seconds for a registry to take a model; MLflow would wait for minutes


class Tracker:
    """The tracked run of one task; without one, every method does nothing."""

    def __init__(self, client: "MlflowClient | None" = None, run_id: str = "") -> None:
        self._client = client
        self._run_id = run_id

    def settings(self, settings: dict[str, Any]) -> None:
        """Record settings; nested ones get dotted names."""

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import Param

            values = [Param(name, str(value)[:_LONGEST_VALUE]) for name, value in _flat(settings)]
            client.log_batch(self._run_id, params=values)

        self._try(record)

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Record numbers at a step; MLflow allows no ``@`` in names, so ``hit@10`` becomes ``hit_at_10``."""

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import Metric

            now = time.time_ns() // 1_000_000
            points = [Metric(name.replace("@", "_at_"), value, now, step) for name, value in values.items()]
            client.log_batch(self._run_id, metrics=points)

        self._try(record)

    def name(self, run_name: str, tags: dict[str, str]) -> None:
        """Give the run the name and the tags by which the UI lists and compares it."""

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import RunTag

            named = {"mlflow.runName": run_name, **tags}
            client.log_batch(self._run_id, tags=[RunTag(key, value) for key, value in named.items()])

        self._try(record)

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file or folder with the run."""

        def record(client: "MlflowClient") -> None:
            if path.is_dir():
                client.log_artifacts(self._run_id, str(path), path.name)
            else:
                client.log_artifact(self._run_id, str(path))

        self._try(record)

    def text(self, name: str, text: str) -> None:
        """Keep a text with the run under a name whose ending tells the UI how to show it."""
        self._try(lambda client: client.log_text(self._run_id, text, name))

    def dataset(self, manifest: dict[str, Any], context: str) -> None:
        """Record a dataset folder's manifest as the run's dataset input; ``context`` says what it was used for."""

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            addresses = [source["address"] for source in manifest["sources"]]
            entity = Dataset(
                name=manifest["dataset"],
                digest=manifest["fingerprint"][:32],
                source_type="http" if addresses[0].startswith("http") else "local",
                source=json.dumps({"addresses": addresses}),
                profile=json.dumps({**manifest["counts"], "split": manifest["split"]["name"]}),
            )
            client.log_inputs(self._run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])

        self._try(record)

    def register(
        self,
        name: str,
        folder: Path,
        tags: dict[str, str],
        alias: str,
        takes_over: Callable[[dict[str, str] | None], bool],
    ) -> None:
        """Keep a folder that holds an MLflow model with the run, and register it as a new version of a model.

        Args:
            name: of the registered model, which is made if it is new.
            folder: the MLflow model.
            tags: of the version.
            alias: for the version, if ``takes_over`` says so.
            takes_over: is given the tags of the version that has the alias, None if no version has it.
        """

        def record(client: "MlflowClient") -> None:
            client.log_artifacts(self._run_id, str(folder), folder.name)
            if not client.search_registered_models(f"name = '{name}'"):
                client.create_registered_model(name)
            source = f"{client.get_run(self._run_id).info.artifact_uri}/{folder.name}"
            version = client.create_model_version(
                name, source, self._run_id, tags, await_creation_for=_LONGEST_WAIT
            ).version
            logger.info("registered as %s, version %s", name, version)
            holder = client.get_registered_model(name).aliases.get(alias)
            if takes_over(None if holder is None else client.get_model_version(name, holder).tags):
                client.set_registered_model_alias(name, alias, version)
                logger.info("models:/%s@%s is version %s", name, alias, version)

        self._try(record)

    def finish(self, status: str) -> None:
        """End the run; ``status`` is FINISHED, FAILED or KILLED."""
        self._try(lambda client: client.set_terminated(self._run_id, status))

    def _try(self, record: "Callable[[MlflowClient], None]") -> None:
        if self._client is None:
            return
        try:
            record(self._client)
        except Exception as error:
            _warn(error)
            self._client = None


@contextmanager
def tracked_task(name: str, tags: dict[str, str]) -> Iterator[Tracker]:
    """Yield the task's tracker; the run ends FINISHED, or FAILED when the block raises."""
    tracker = _task_tracker()
    tracker.name(name, tags)
    try:
        yield tracker
    except BaseException:
        tracker.finish("FAILED")
        raise
    tracker.finish("FINISHED")


def start_study(name: str, tags: dict[str, str], artifacts: str) -> tuple[Tracker, dict[str, str]]:
    """Start a study's run at MLFLOW_TRACKING_URI.

    Args:
        name: of the run.
        tags: of the run.
        artifacts: where a store without a server keeps the artifacts of the experiment, if it is new.

    Returns:
        Its tracker, and the environment variables under which :func:`start_task` nests runs in it (empty when
        nothing is tracked).
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return Tracker(), {}
    try:
        client = _client(uri)
        run = client.create_run(_experiment(client, artifacts), tags=tags, run_name=name)
    except Exception as error:
        _warn(error)
        return Tracker(), {}
    return Tracker(client, run.info.run_id), {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_EXPERIMENT_ID": run.info.experiment_id,
        "MLFLOW_PARENT_RUN_ID": run.info.run_id,
    }


def start_task(name: str, study: dict[str, str]) -> dict[str, str]:
    """Start a run nested in a study's, as KFP's plugin does for a task; return the variables a stage resumes it by."""
    if not study:
        return {}
    parent = {"mlflow.parentRunId": study["MLFLOW_PARENT_RUN_ID"]}
    try:
        client = _client(study["MLFLOW_TRACKING_URI"])
        run = client.create_run(study["MLFLOW_EXPERIMENT_ID"], tags=parent, run_name=name)
    except Exception as error:
        _warn(error)
        return {}
    return {**study, "MLFLOW_RUN_ID": run.info.run_id}


def _task_tracker() -> Tracker:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    run_id = os.environ.get("MLFLOW_RUN_ID", "")
    if not uri:
        return Tracker()
    try:
        client = _client(uri)
        if run_id:
            client.update_run(run_id, status="RUNNING")
        else:
            run_id = client.create_run(_experiment(client)).info.run_id
    except Exception as error:
        _warn(error)
        return Tracker()
    return Tracker(client, run_id)


def _client(uri: str) -> "MlflowClient":
    # A dead server must cost seconds, not the minutes of MLflow's defaults.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # MLflow would tell its makers how it is used.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    return MlflowClient(uri)


def _experiment(client: "MlflowClient", artifacts: str | None = None) -> str:
    experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID", "")
    if not experiment_id:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
        location = artifacts if os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite:") else None
        found = client.get_experiment_by_name(name)
        experiment_id = found.experiment_id if found else client.create_experiment(name, location)
    return experiment_id


def _warn(error: Exception) -> None:
    """Say that tracking is over; whatever MLflow raises, from a dead server to a full disk, must not stop a stage."""
    logger.warning("MLflow tracking stopped, the work goes on: %s", str(error).partition("\n")[0][:300])


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value

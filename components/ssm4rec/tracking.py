"""Experiment tracking: the only module that talks to MLflow (``registry/`` writes and loads models in its format).

A stage resumes the run MLFLOW_RUN_ID if that is set (KFP's MLflow plugin and the local runner make one per task,
nested in the study's run), else starts a run of its own at MLFLOW_TRACKING_URI, else does not track.

Tracking never stops a stage and never holds it up for long (``delivery.py``): a record that MLflow refuses costs that
record; while MLflow does not answer, records wait here and are sent later, in order; at its end a stage waits at most
SSM4REC_TRACKING_SECONDS (90; less when it was killed) for what is still missing. No secret is recorded
(``addresses.py``), and what is longer than MLflow takes (3.17.2, mlflow/utils/validation.py:66-92) is cut, the whole
kept as a file.
"""

import functools
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssm4rec.addresses import public_text
from ssm4rec.delivery import Delivery
from ssm4rec.errors import one_line
from ssm4rec.files import whole_file

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param, RunTag

logger = logging.getLogger(__name__)

DEFAULT_EXPERIMENT = "ssm4rec"
END_SECONDS: Final = 90.0
"""How long a stage waits at its end for MLflow to answer, and a study at its start."""

KILLED_SECONDS: Final = 8.0
"""The same of what was asked to end: ``docker stop`` kills after 10 seconds."""

_AWAY_SECONDS: Final = 10.0
"""The same of a stage whose study has found MLflow away just before."""

_PATIENCE: Final = "SSM4REC_TRACKING_SECONDS"
_SQLITE: Final = "sqlite:///"
_BYTES_PER_SECOND: Final = 1e6  # a file may take as long as it would at this speed
_LONGEST_NAME: Final = 250
_LONGEST_SETTING: Final = 6000
_LONGEST_TAG: Final = 8000
_LONGEST_SOURCE: Final = 65535
_LONGEST_WAIT = 30  # seconds for a registry to take a model; MLflow would wait for minutes
_PASSING_STATUS: Final = {408, 425, 429}


class Tracker:
    """The tracked run of one task; without a store, every method does nothing.

    Args:
        uri: of the store, "" for none.
        run_id: of the run, "" if ``start`` is to make it.
        start: is called before anything is recorded, and returns the run's id.
    """

    def __init__(self, uri: str = "", run_id: str = "", start: "Callable[[MlflowClient], str] | None" = None) -> None:
        self._uri = uri
        self._run_id = run_id
        self._start = start
        self._given_up = False
        self._delivery = Delivery("MLflow", _is_refusal, self._works)

    def wait_for_run(self, seconds: float) -> str:
        """Return the run's id as soon as it is known; "" after so many seconds, when nothing will be recorded."""
        try:
            self._record("the run", lambda _: None)
            self._delivery.wait(seconds)
        except BaseException:  # the run may be there by now
            self.finish("KILLED")
            raise
        self._given_up = not self._run_id
        return self._run_id

    def settings(self, settings: dict[str, Any]) -> None:
        """Record settings; nested ones get dotted names.

        One that the run has with another value (the run was resumed with other settings) becomes the tag
        ``resumed.<name>``: MLflow lets no parameter change.
        """
        flat = {name: public_text(str(value)) for name, value in _flat(settings)}
        if any(len(value) > _LONGEST_SETTING for value in flat.values()):
            self.text("settings.json", json.dumps(flat, indent=2))

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import Param, RunTag

            recorded = client.get_run(self._run_id).data.params
            values = {_name(name): _cut(value, _LONGEST_SETTING) for name, value in flat.items()}
            changed = {name: value for name, value in values.items() if recorded.get(name, value) != value}
            added = [Param(name, value) for name, value in values.items() if name not in changed]
            tags = [RunTag(_name(f"resumed.{name}"), value) for name, value in changed.items()]
            self._log(client, params=added, tags=tags)

        self._record("settings", record)

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Record numbers at a step; MLflow allows no ``@`` in names, so ``hit@10`` becomes ``hit_at_10``.

        One that is not finite becomes a tag: stores keep infinity as 1.8e308, or refuse it with all others.
        """
        now = time.time_ns() // 1_000_000

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import Metric, RunTag

            points = [Metric(_name(name), value, now, step) for name, value in values.items() if math.isfinite(value)]
            others = {name: value for name, value in values.items() if not math.isfinite(value)}
            tags = [RunTag(_name(f"not_finite.{name}"), f"{value} at step {step}") for name, value in others.items()]
            self._log(client, metrics=points, tags=tags)

        self._record("metrics", record)

    def name(self, run_name: str, tags: dict[str, str]) -> None:
        """Give the run the name and the tags by which the UI lists and compares it."""

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import RunTag

            named = {"mlflow.runName": _cut(public_text(run_name), _LONGEST_NAME), **_public_tags(tags)}
            self._log(client, tags=[RunTag(key, value) for key, value in named.items()])

        self._record("the run's name", record)

    def artifact(self, path: Path) -> None:
        """Keep a copy of a file or folder with the run."""
        for file in sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path]:
            place = file.parent.relative_to(path.parent).as_posix()
            self._keep(file, None if place == "." else place)

    def _keep(self, file: Path, place: str | None) -> None:
        # One by one: MLflow sends a folder from threads that the interpreter waits for at its end.
        size = file.stat().st_size if file.exists() else 0
        self._record(
            f"file {file.name}",
            lambda client: client.log_artifact(self._run_id, str(file), place),
            size / _BYTES_PER_SECOND,
        )

    def text(self, name: str, text: str) -> None:
        """Keep a text with the run under a name whose ending tells the UI how to show it."""
        self._record(f"file {name}", lambda client: client.log_text(self._run_id, text, name))

    def dataset(self, manifest: dict[str, Any], context: str) -> None:
        """Record a dataset folder's manifest as the run's dataset input; ``context`` says what it was used for."""
        addresses = [public_text(source["address"]) for source in manifest["sources"]]
        source = json.dumps({"addresses": addresses})
        if len(source) > _LONGEST_SOURCE:
            self.text("sources.json", json.dumps(addresses, indent=2))
            source = json.dumps({"addresses": addresses[:1], "further": len(addresses) - 1, "all": "sources.json"})

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            entity = Dataset(
                name=manifest["dataset"],
                digest=manifest["fingerprint"][:32],
                source_type="http" if addresses[0].startswith("http") else "local",
                source=source,
                profile=json.dumps({**manifest["counts"], "split": manifest["split"]["name"]}),
            )
            client.log_inputs(self._run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])

        self._record("the data set", record)

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
        self.artifact(folder)

        def record(client: "MlflowClient") -> None:
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

        self._record("the registered model", record, _LONGEST_WAIT)

    def finish(self, status: str) -> None:
        """End the run; ``status`` is FINISHED, FAILED or KILLED.

        Waits, within limits, until all records have been taken.
        """

        def record(client: "MlflowClient") -> None:
            client.set_terminated(self._run_id, status)
            # A study's tasks have ended by now, whether they could say so or not.
            nested = f"tags.`mlflow.parentRunId` = '{self._run_id}' and attributes.status = 'RUNNING'"
            for task in client.search_runs([client.get_run(self._run_id).info.experiment_id], nested):
                client.set_terminated(task.info.run_id, "FAILED" if status == "FAILED" else "KILLED")

        self._end("the run's end", record, status)

    def finish_unfinished(self, status: str) -> None:
        """End the run if nobody has."""

        def record(client: "MlflowClient") -> None:
            if client.get_run(self._run_id).info.status == "RUNNING":
                client.set_terminated(self._run_id, status)

        self._end("the run's end", record, status)

    def _end(self, kind: str, record: "Callable[[MlflowClient], object]", status: str) -> None:
        if self._uri and not self._given_up:
            seconds = min(_patience(), KILLED_SECONDS) if status == "KILLED" else _patience()
            self._delivery.end(kind, self._with_run(record), seconds)

    def _record(self, kind: str, record: "Callable[[MlflowClient], object]", seconds: float = 0.0) -> None:
        if self._uri and not self._given_up:
            self._delivery.call(kind, self._with_run(record), seconds)

    def _with_run(self, record: "Callable[[MlflowClient], object]") -> Callable[[], object]:
        def call() -> None:
            if self._start:
                self._make_run(self._start)
            if not self._given_up:
                record(_client(self._uri))

        return call

    def _make_run(self, start: "Callable[[MlflowClient], str]") -> None:
        if self._given_up:
            return
        try:
            client = _client(self._uri)
            self._run_id = start(client)
        except Exception as error:
            if not _is_refusal(error):
                raise
            self._given_up = True
            logger.warning("MLflow does not track this, the work goes on: %s", one_line(str(error)))
            return
        self._start = None
        if self._given_up:  # meanwhile
            client.set_terminated(self._run_id, "KILLED")

    def _log(
        self,
        client: "MlflowClient",
        metrics: "Sequence[Metric]" = (),
        params: "Sequence[Param]" = (),
        tags: "Sequence[RunTag]" = (),
    ) -> None:
        """Record a batch; where it is refused, what of it is not."""
        try:
            client.log_batch(self._run_id, metrics, params, tags)
            return
        except Exception as error:
            if not _is_refusal(error):
                raise
        refusals = []
        singly = [((one,), (), ()) for one in metrics] + [((), (one,), ()) for one in params]
        for single in (*singly, *(((), (), (one,)) for one in tags)):
            try:
                client.log_batch(self._run_id, *single)
            except Exception as refusal:
                refusals.append(refusal)
        if refusals:
            raise refusals[0]

    def _works(self) -> None:
        """Write what must succeed if MLflow takes anything."""
        _client(self._uri).set_tag(self._run_id, "recorded_late", "true")


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
    tracker = _task_tracker()
    with finished(tracker):
        tracker.name(name, tags)
        yield tracker


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
    experiments: list[str] = []

    def start(client: "MlflowClient") -> str:
        experiments[:] = [_experiment(client, artifacts)]
        run = client.create_run(
            experiments[0], tags=_public_tags(tags), run_name=_cut(public_text(name), _LONGEST_NAME)
        )
        return str(run.info.run_id)

    tracker = Tracker(uri, start=start)
    run_id = tracker.wait_for_run(_patience())
    if not run_id:
        logger.warning("the study is not tracked: MLflow does not answer")
        return Tracker(), {"MLFLOW_TRACKING_URI": ""}
    return tracker, {
        "MLFLOW_TRACKING_URI": uri,
        "MLFLOW_EXPERIMENT_ID": experiments[0],
        "MLFLOW_PARENT_RUN_ID": run_id,
    }


def start_task(name: str, study: dict[str, str]) -> dict[str, str]:
    """Start a run nested in a study's, as KFP's plugin does for a task.

    Args:
        name: of the run.
        study: the variables of :func:`start_study`; remembers whether MLflow was away.

    Returns:
        The variables by which a stage resumes the run or, where MLflow does not answer, starts it itself later.
    """
    if "MLFLOW_PARENT_RUN_ID" not in study:
        return dict(study)

    def start(client: "MlflowClient") -> str:
        parent = {"mlflow.parentRunId": study["MLFLOW_PARENT_RUN_ID"]}
        run = client.create_run(study["MLFLOW_EXPERIMENT_ID"], tags=parent, run_name=_cut(name, _LONGEST_NAME))
        return str(run.info.run_id)

    run_id = Tracker(study["MLFLOW_TRACKING_URI"], start=start).wait_for_run(float(study.get(_PATIENCE, _patience())))
    if not run_id:
        study[_PATIENCE] = str(_AWAY_SECONDS)
        return dict(study)
    study.pop(_PATIENCE, None)
    return {**study, "MLFLOW_RUN_ID": run_id}


def end_task(task: dict[str, str], status: str) -> None:
    """End a task's run if its stage could not, such as one that was killed; ``status`` is FAILED or KILLED."""
    if "MLFLOW_RUN_ID" in task:
        Tracker(task["MLFLOW_TRACKING_URI"], task["MLFLOW_RUN_ID"]).finish_unfinished(status)


def _patience() -> float:
    return float(os.environ.get(_PATIENCE, END_SECONDS))


def _task_tracker() -> Tracker:
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri:
        return Tracker()
    parent = os.environ.get("MLFLOW_PARENT_RUN_ID", "")

    def start(client: "MlflowClient") -> str:
        run_id = os.environ.get("MLFLOW_RUN_ID", "")
        if run_id:
            client.update_run(run_id, status="RUNNING")
            return run_id
        run = client.create_run(_experiment(client), tags={"mlflow.parentRunId": parent} if parent else None)
        return str(run.info.run_id)

    return Tracker(uri, start=start)


@functools.cache
def _client(uri: str) -> "MlflowClient":
    # One attempt at a time, each soon over: delivery.py knows when to ask again.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # MLflow would tell its makers how it is used.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient

    # It prints a traceback for each attempt that finds the database locked.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if uri.startswith(_SQLITE):
        _make_store(Path(uri.removeprefix(_SQLITE)))
    return MlflowClient(uri)


def _make_store(path: Path) -> None:
    """Make a new SQLite store whole or not at all: MLflow never opens one again whose making was cut off.

    Raises:
        InputError: another process is making it.
    """
    from mlflow import MlflowClient

    with suppress(FileExistsError):
        _refuse_existing(path)
        with whole_file(path) as partial:
            MlflowClient(f"{_SQLITE}{partial}").search_experiments(max_results=1)
            _refuse_existing(path)  # another process may have been faster


def _refuse_existing(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        raise FileExistsError(path)


def _is_refusal(error: Exception) -> bool:
    """Tell whether MLflow will answer so however often it is asked.

    A 404 that is not of MLflow's own making is: a proxy answers so while the server behind it starts.
    """
    from mlflow.exceptions import InvalidUrlException, MlflowException

    if not isinstance(error, MlflowException):
        return isinstance(error, (ImportError, FileNotFoundError))  # of MLflow itself, or of a file to keep
    status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
    passing = status in _PASSING_STATUS or error.error_code == "ENDPOINT_NOT_FOUND"
    return isinstance(error, InvalidUrlException) or (400 <= status < 500 and not passing)


def _experiment(client: "MlflowClient", artifacts: str | None = None) -> str:
    experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID", "")
    if not experiment_id:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", DEFAULT_EXPERIMENT)
        location = artifacts if os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite:") else None
        found = client.get_experiment_by_name(name)
        experiment_id = found.experiment_id if found else client.create_experiment(name, location)
    return experiment_id


def _name(name: str) -> str:
    """Return a name that MLflow takes (3.17.2, mlflow/utils/validation.py:329)."""
    return re.sub(r"[^/\w.\- :]", "_", name.replace("@", "_at_"))[:_LONGEST_NAME]


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _public_tags(tags: dict[str, str]) -> dict[str, str]:
    return {_name(name): _cut(public_text(value), _LONGEST_TAG) for name, value in tags.items()}


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value

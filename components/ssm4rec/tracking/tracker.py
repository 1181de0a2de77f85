"""The tracked run of one task or study: what it records."""

import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import one_line
from ssm4rec.tracking.delivery import Delivery
from ssm4rec.tracking.experiment import keep_view
from ssm4rec.tracking.names import LONGEST_NAME, LONGEST_SETTING, LONGEST_SOURCE, cut, dotted, mlflow_name, run_tags
from ssm4rec.tracking.registration import LONGEST_WAIT, Registration
from ssm4rec.tracking.store import is_refusal, store_client

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

    Record = Callable[[MlflowClient], object]
    Start = Callable[[MlflowClient], str]

logger = logging.getLogger(__name__)

END_SECONDS: Final = 90.0
"""How long a stage waits at its end for MLflow to answer, and a study at its start."""

KILLED_SECONDS: Final = 8.0
"""The same of what was asked to end: ``docker stop`` kills after 10 seconds."""

PATIENCE: Final = "SSM4REC_TRACKING_SECONDS"
_BYTES_PER_SECOND: Final = 1e6  # a file may take as long as it would at this speed


def patience() -> float:
    """Return how long, in seconds, a stage waits at its end."""
    return float(os.environ.get(PATIENCE, END_SECONDS))


def end_run(client: "MlflowClient", run: "Run", status: str) -> None:
    """End a run and those nested in it: a study's tasks have ended by then, whether they could say so or not."""
    client.set_terminated(run.info.run_id, status)
    nested = f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and attributes.status = 'RUNNING'"
    for task in client.search_runs([run.info.experiment_id], nested):
        client.set_terminated(task.info.run_id, "FAILED" if status == "FAILED" else "KILLED")


class Tracker:
    """The tracked run of one task; without a store, every method does nothing.

    Args:
        uri: of the store, "" for none.
        run_id: of the run, "" if ``start`` is to make it.
        start: is called before anything is recorded, and returns the run's id.
    """

    def __init__(self, uri: str = "", run_id: str = "", start: "Start | None" = None) -> None:
        self._uri = uri
        self._run_id = run_id
        self._start = start
        self._given_up = False
        self._opening = threading.Lock()
        self._delivery = Delivery("MLflow", is_refusal, self._works)

    def wait_for_run(self, seconds: float) -> str:
        """Return the run's id as soon as it is known; "" after so many seconds, when nothing will be recorded."""
        try:
            self._record("the run", lambda _: None)
            self._delivery.wait(seconds)
        except BaseException:  # the run may be there by now
            self.finish("KILLED")
            raise
        self._given_up = True  # before it is asked whether there is a run: what is opened later is ended at once
        self._given_up = not self._run_id
        if self._given_up:
            self._delivery.say_no_more()
        return self._run_id

    def settings(self, settings: dict[str, Any]) -> None:
        """Record settings; nested ones get dotted names.

        One that the run has with another value (the run was resumed with other settings) becomes the tag
        ``resumed.<name>``: MLflow lets no parameter change.
        """
        flat = {name: public_text(str(value)) for name, value in dotted(settings)}
        if any(len(value) > LONGEST_SETTING for value in flat.values()):
            self.text("settings.json", json.dumps(flat, indent=2))

        def record(client: "MlflowClient") -> None:
            recorded = client.get_run(self._run_id).data.params
            values = {mlflow_name(name): cut(value, LONGEST_SETTING) for name, value in flat.items()}
            added = {name: value for name, value in values.items() if recorded.get(name, value) == value}
            changed = {f"resumed.{name}": value for name, value in values.items() if name not in added}
            self._log(client, params=added, tags=changed)

        self._record("settings", record)

    def metrics(self, values: dict[str, float], step: int = 0) -> None:
        """Record numbers at a step; MLflow allows no ``@`` in names, so ``hit@10`` becomes ``hit_at_10``.

        One that is not finite becomes a tag: stores keep infinity as 1.8e308, or refuse it with all others.
        """
        moment = time.time_ns() // 1_000_000, step
        points = {name: value for name, value in values.items() if math.isfinite(value)}
        others = {f"not_finite.{name}": f"{values[name]} at step {step}" for name in values if name not in points}
        self._record("metrics", lambda client: self._log(client, metrics=points, moment=moment, tags=others))

    def name(self, run_name: str, tags: dict[str, str]) -> None:
        """Give the run the name and the tags by which the UI lists and compares it, with all runs on one page."""
        named = {"mlflow.runName": cut(public_text(run_name), LONGEST_NAME), **run_tags(tags)}

        def record(client: "MlflowClient") -> None:
            self._log(client, tags=named)
            keep_view(client, client.get_run(self._run_id).info.experiment_id)

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
        if len(source) > LONGEST_SOURCE:
            self.text("sources.json", json.dumps(addresses, indent=2))
            source = json.dumps({"addresses": addresses[:1], "further": len(addresses) - 1, "all": "sources.json"})

        def record(client: "MlflowClient") -> None:
            from mlflow.entities import Dataset, DatasetInput, InputTag

            entity = Dataset(
                name=manifest["dataset"],
                digest=manifest["fingerprint"][:32],
                source_type="http" if addresses and addresses[0].startswith("http") else "local",
                source=source,
                profile=json.dumps({**manifest["counts"], "split": manifest["split"]["name"]}),
            )
            client.log_inputs(self._run_id, [DatasetInput(entity, [InputTag("mlflow.data.context", context)])])

        self._record("the data set", record)

    def register(self, registration: Registration) -> None:
        """Keep a folder that holds an MLflow model with the run, and register it as a new version of a model."""
        self.artifact(registration.folder)
        if self._uri:
            registration.outcome = "not registered: MLflow did not take it"
            self._record("the registered model", lambda client: registration.record(client, self._run_id), LONGEST_WAIT)

    def finish(self, status: str, unless_ended: bool = False) -> None:
        """End the run, ``unless_ended`` already, as FINISHED, FAILED or KILLED; wait for its records, within limits."""

        def record(client: "MlflowClient") -> None:
            run = client.get_run(self._run_id)
            if run.info.status == "RUNNING" or not unless_ended:
                end_run(client, run, status)

        if self._uri and not self._given_up:
            seconds = min(patience(), KILLED_SECONDS) if status == "KILLED" else patience()
            self._delivery.end("the run's end", self._with_run(record), seconds)

    def _record(self, kind: str, record: "Record", seconds: float = 0.0) -> None:
        if self._uri and not self._given_up:
            self._delivery.call(kind, self._with_run(record), seconds)

    def _with_run(self, record: "Record") -> Callable[[], object]:
        def call() -> None:
            if self._start:
                self._make_run(self._start)
            if not self._given_up:
                record(store_client(self._uri))

        return call

    def _make_run(self, start: "Start") -> None:
        # One at a time: an earlier attempt may be at it still, and what comes after it ends the run that it opens.
        with self._opening:
            if self._given_up or not self._start:
                return
            try:
                client = store_client(self._uri)
                self._run_id = start(client)
            except Exception as error:
                if not is_refusal(error):
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
        *,
        metrics: Mapping[str, float] = {},
        moment: tuple[int, int] = (0, 0),
        params: Mapping[str, str] = {},
        tags: Mapping[str, str] = {},
    ) -> None:
        """Record a batch, its metrics at a time in milliseconds and a step; where it is refused, what of it is not."""
        from mlflow.entities import Metric, Param, RunTag

        points = [Metric(mlflow_name(name), value, *moment) for name, value in metrics.items()]
        settings = [Param(mlflow_name(name), value) for name, value in params.items()]
        labels = [RunTag(mlflow_name(name), value) for name, value in tags.items()]
        try:
            client.log_batch(self._run_id, points, settings, labels)
            return
        except Exception as error:
            if not is_refusal(error):
                raise
        refusals = []
        singly = [((one,), (), ()) for one in points] + [((), (one,), ()) for one in settings]
        for single in (*singly, *(((), (), (one,)) for one in labels)):
            try:
                client.log_batch(self._run_id, *single)
            except Exception as refusal:
                refusals.append(refusal)
        if refusals:
            raise refusals[0]

    def _works(self) -> None:
        """Write what must succeed if MLflow takes anything."""
        store_client(self._uri).set_tag(self._run_id, "recorded_late", "true")

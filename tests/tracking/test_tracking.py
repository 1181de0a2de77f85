"""Tracking against real MLflow stores: nested, resumed and refused records; stores that are locked, broken or slow."""

import json
import logging
import math
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run

from ssm4rec import __version__
from ssm4rec.runtime.images import revision
from ssm4rec.tracking import end_task, finished, start_study, start_task, tracked_task
from tests.mlflow_server import mlflow_server
from tests.mlflow_stores import new_store

MANIFEST = {
    "dataset": "toy",
    "fingerprint": "f" * 64,
    "sources": [{"address": "https://example.org/a.zip"}],
    "counts": {"users": 3, "items": 4, "interactions": 9},
    "split": {"name": "leave-one-out"},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    uri = new_store(tmp_path / "mlflow.db")
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.chdir(tmp_path)  # where MLflow keeps the artifacts of an experiment without another place
    return MlflowClient(uri)


def store_folder(client: MlflowClient) -> Path:
    return Path(client.tracking_uri.removeprefix("sqlite:///")).parent


def runs(client: MlflowClient) -> list[Run]:
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of MLflow's own store
def test_tasks_nest_in_the_study_and_keep_everything(
    store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, variables = start_study("study", {"stage": "study"})
    task = start_task("train sasrec seed 0", variables)
    for name, value in task.items():
        monkeypatch.setenv(name, value)
    note = tmp_path / "note.txt"
    note.write_text("kept")
    with tracked_task("train sasrec toy seed 0", {"model": "sasrec"}) as tracker:
        tracker.settings({"recipe": {"training": {"epochs": 3}}, "seed": 0})
        for epoch in (1, 2):
            tracker.metrics({"ndcg@10": epoch / 10}, epoch)
        tracker.dataset(MANIFEST, "training")
        tracker.artifact(note)
        tracker.text("report.html", "<p>kept</p>")
    study.finish("FINISHED")

    run = store.get_run(task["MLFLOW_RUN_ID"])
    assert run.info.run_name == "train sasrec toy seed 0"
    assert run.info.status == "FINISHED"
    assert run.data.params == {"recipe.training.epochs": "3", "seed": "0"}
    assert run.data.tags["mlflow.parentRunId"] == variables["MLFLOW_PARENT_RUN_ID"]
    assert (run.data.tags["version"], run.data.tags["commit"]) == (__version__, revision())
    view = store.get_experiment(run.info.experiment_id).tags["mlflow.sharedViewState.ssm4rec"]
    shown = json.loads(view)
    assert shown["searchFilter"] == "tags.stage = 'evaluate' and tags.split = 'test'"
    assert set(shown["selectedColumns"]) <= set(shown["columnOrder"]) == set(shown["columnWidths"])
    at_once = shown["columnOrder"][: shown["columnOrder"].index("metrics.`unmasked/hit_at_10`") + 1]
    assert at_once[0] == "attributes.`Run Name`"
    assert at_once[2] == "params.`dataset`", "model, seed and splitting are in the runs' names"
    # Of 1280 pixels MLflow's own bars and the column of check boxes leave about 950.
    assert sum(shown["columnWidths"][name] for name in at_once) < 700
    history = store.get_metric_history(run.info.run_id, "ndcg_at_10")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2)]
    assert run.inputs.dataset_inputs[0].dataset.name == "toy"
    assert [artifact.path for artifact in store.list_artifacts(run.info.run_id)] == ["note.txt", "report.html"]
    assert list((tmp_path / "mlflow-artifacts").rglob("note.txt"))
    assert len(runs(store)) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_run_of_its_own_without_a_study_and_failure_is_recorded(store: MlflowClient) -> None:
    with pytest.raises(ZeroDivisionError), tracked_task("fails", {}):
        _ = 1 / 0
    (run,) = runs(store)
    assert (run.info.run_name, run.info.status) == ("fails", "FAILED")


def test_without_a_store_nothing_is_tracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with tracked_task("untracked", {}) as tracker:
        tracker.metrics({"loss": 1.0})
    assert start_study("untracked", {})[1] == {}
    assert start_task("untracked", {}) == {}


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name.startswith("ssm4rec.")]


def test_dead_server_costs_a_bounded_wait_and_two_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:planted@127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    monkeypatch.setenv("SSM4REC_TRACKING_SECONDS", "4")
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="ssm4rec"), tracked_task("train", {}) as tracker:
        for epoch in range(100):
            tracker.metrics({"loss": 1.0}, epoch)
    assert time.monotonic() - started < 30
    away, lost = messages(caplog)
    assert away.startswith("MLflow does not answer, the work goes on and is recorded later: API request to http://127.")
    assert lost == "MLflow did not take the last 101 records within 3 s, they are lost"
    assert "planted" not in caplog.text


def epochs(client: MlflowClient, run_id: str) -> list[int]:
    return [point.step for point in client.get_metric_history(run_id, "loss")]


def locked(path: Path, seconds: float) -> threading.Thread:
    """Lock an SQLite file for a while, from now on."""
    held = threading.Event()

    def hold() -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            held.set()
            time.sleep(seconds)
            connection.execute("ROLLBACK")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    return thread


def train_under_a_lock(store: MlflowClient, caplog: pytest.LogCaptureFixture, seconds: float) -> float:
    """Track epochs while the store is locked; return how long the epochs took."""
    with caplog.at_level(logging.INFO, logger="ssm4rec"), tracked_task("train", {}) as tracker:
        tracker.metrics({"loss": 1.0}, 0)
        thread = locked(store_folder(store) / "mlflow.db", seconds)
        started = time.monotonic()
        for epoch in range(1, 121):
            tracker.metrics({"loss": 1.0}, epoch)
        taken = time.monotonic() - started
    thread.join()
    (run,) = runs(store)
    assert run.info.status == "FINISHED"
    assert epochs(store, run.info.run_id) == list(range(121))
    return taken


def test_a_store_whose_making_is_cut_off_is_made_again(tmp_path: Path) -> None:
    """MLflow 3.17.2 never opens such a file again: "table _alembic_tmp_experiments already exists"."""
    program = "from ssm4rec.tracking import tracked_task\nwith tracked_task('a', {}) as t: t.metrics({'loss': 1.0})"
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}
    with subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path, env=environment) as running:
        while not any(path.stat().st_size for path in tmp_path.iterdir()) and running.poll() is None:
            time.sleep(0.01)
        running.kill()
    assert not (tmp_path / "mlflow.db").exists()
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        assert connection.execute("select status from runs").fetchall() == [("FINISHED",)]
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.slow
def test_a_store_that_mlflow_left_half_made_is_made_again(tmp_path: Path) -> None:
    """MLflow alone makes a store in place; after a minute nobody does. One with a registered model stays."""
    path = tmp_path / "mlflow.db"
    program = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
    with subprocess.Popen([sys.executable, "-c", program, f"sqlite:///{path}"], stderr=subprocess.DEVNULL) as running:
        while not path.exists() or path.stat().st_size < 50_000:
            time.sleep(0.01)
        running.kill()
    make = [sys.executable, "-m", "ssm4rec.tracking", str(path)]
    refused = subprocess.run(make, capture_output=True, text=True, check=False)
    line = f"{path}: another process is making this store; if none is, try again in a minute"
    assert (refused.returncode, refused.stderr) == (2, f"python -m ssm4rec.tracking: error: {line}\n")
    os.utime(path, (0, 0))
    for _ in range(2):
        subprocess.run(make, check=True)
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("select name from experiments").fetchall() == [("Default",)]
    MlflowClient(f"sqlite:///{path}").create_registered_model("champion")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("delete from experiments")
    os.utime(path, (0, 0))
    subprocess.run(make, check=True)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select name from registered_models").fetchall() == [("champion",)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_locked_store_gets_all_epochs_later(
    store: MlflowClient, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssm4rec.tracking.delivery.CALL_SECONDS", 1.0)
    assert train_under_a_lock(store, caplog, 15) < 14


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_store_locked_for_a_minute(store: MlflowClient, caplog: pytest.LogCaptureFixture) -> None:
    assert train_under_a_lock(store, caplog, 60) < 15
    assert "MLflow does not answer, the work goes on and is recorded later: (sqlite3.OperationalError)" in caplog.text
    assert "MLflow answers again" in caplog.text
    assert "Traceback" not in caplog.text


class Unsteady(ThreadingHTTPServer):
    """Stands before an MLflow server: passes requests on, answers 500 itself, or one byte a second."""

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Between)
        self.behind = behind
        self.mood = "well"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Between(BaseHTTPRequestHandler):
    server: Unsteady

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.server.mood == "broken":
            status, answer = 500, b"oh no"
        else:
            kind = {"content-type": self.headers.get("content-type", "application/json")}
            found = requests.request(self.command, self.server.behind + self.path, data=body, headers=kind, timeout=60)
            status, answer = found.status_code, found.content
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        slow = self.server.mood == "slow"
        with suppress(OSError):
            for piece in [answer[at : at + 1] for at in range(len(answer))] if slow else [answer]:
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(slow)

    do_GET = do_POST = do_PUT = do_PATCH = _pass_on  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="module")
def mlflow_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture
def unsteady(mlflow_address: str, store: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[Unsteady]:
    with Unsteady(mlflow_address) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        yield server
        server.shutdown()
        thread.join()


def test_server_that_is_broken_for_a_while_gets_everything_later(
    unsteady: Unsteady, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkey, note = MlflowClient(unsteady.behind), tmp_path / "note.txt"
    note.write_text("kept")
    with caplog.at_level(logging.INFO, logger="ssm4rec"), tracked_task("broken for a while", {}) as tracker:
        tracker.metrics({"loss": 1.0}, 0)
        unsteady.mood = "broken"
        started = time.monotonic()
        for epoch in range(1, 31):
            tracker.metrics({"loss": 1.0}, epoch)
        tracker.artifact(note)
        assert time.monotonic() - started < 20
        threading.Timer(5, lambda: setattr(unsteady, "mood", "well")).start()
    (run,) = [run for run in runs(monkey) if run.info.run_name == "broken for a while"]
    assert run.info.status == "FINISHED"
    assert epochs(monkey, run.info.run_id) == list(range(31))
    assert [artifact.path for artifact in monkey.list_artifacts(run.info.run_id)] == ["note.txt"]
    away, _, again = messages(caplog)
    assert away.startswith("MLflow does not answer, the work goes on and is recorded later: API request")
    assert again == "MLflow answers again"


def test_server_of_a_byte_a_second_holds_nobody(
    unsteady: Unsteady, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ssm4rec.tracking.delivery.CALL_SECONDS", 2.0)
    monkeypatch.setenv("SSM4REC_TRACKING_SECONDS", "4")
    unsteady.mood = "slow"
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="ssm4rec"), tracked_task("slow", {}) as tracker:
        for epoch in range(30):
            tracker.metrics({"loss": 1.0}, epoch)
    assert time.monotonic() - started < 40
    assert messages(caplog)[-1].startswith("MLflow did not take the last 31 records within 3 s")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_data_that_come_from_no_file_are_recorded(store: MlflowClient) -> None:
    with tracked_task("generated", {}) as tracker:
        tracker.dataset({**MANIFEST, "sources": []}, "training")
    (run,) = runs(store)
    (recorded,) = run.inputs.dataset_inputs
    assert json.loads(recorded.dataset.source) == {"addresses": []}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_mlflow_would_refuse_costs_nothing_else(
    store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Limits of MLflow 3.17.2: mlflow/utils/validation.py:67-91."""
    many = {**MANIFEST, "sources": [{"address": f"/data/day-{day}/{'x' * 80}.csv"} for day in range(900)]}
    source = ",".join(entry["address"] for entry in many["sources"])
    with caplog.at_level(logging.WARNING, logger="ssm4rec"), tracked_task("large", {"note": "n" * 9000}) as tracker:
        tracker.settings({"source": source, "k_core": 5, **{f"s{number}": number for number in range(250)}})
        tracker.dataset(many, "training")
        tracker.metrics({"a (b) é@10": 1.0, "c" * 300: 2.0, **{f"m{number}": number for number in range(1500)}})
        tracker.metrics({"loss": math.nan, "kept": 1.0, "up": math.inf}, 3)
        tracker.metrics({"a//b": 1.0, "beside": 2.0})  # a name that is refused
        tracker.artifact(tmp_path / "nowhere.txt")
        tracker.metrics({"later": 3.0})
    (run,) = runs(store)
    assert run.info.status == "FINISHED"
    assert run.data.params["source"] == source[:5999] + "…"
    assert run.data.params["s249"] == "249"
    assert run.data.tags["note"] == "n" * 7999 + "…"
    assert run.data.tags["not_finite.loss"] == "nan at step 3"
    assert run.data.tags["not_finite.up"] == "inf at step 3"
    metrics = run.data.metrics
    assert (metrics["a _b_ é_at_10"], metrics["c" * 250], metrics["m1499"], metrics["kept"]) == (1, 2, 1499, 1)
    assert (metrics["beside"], metrics["later"]) == (2, 3)
    assert set(metrics).isdisjoint({"a//b", "loss", "up"})
    files = {entry.path: store.download_artifacts(run.info.run_id, entry.path, str(tmp_path))
             for entry in store.list_artifacts(run.info.run_id)}  # fmt: skip
    assert json.loads(Path(files["settings.json"]).read_text())["source"] == source
    assert json.loads(Path(files["sources.json"]).read_text()) == source.split(",")
    assert json.loads(run.inputs.dataset_inputs[0].dataset.source)["further"] == 899
    metric, file = messages(caplog)
    assert metric.startswith("MLflow did not take metrics, the rest is recorded: Invalid value")
    assert "nowhere.txt" in file


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_setting_that_changes_when_a_run_is_resumed_becomes_a_tag(
    store: MlflowClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _, variables = start_study("study", {})
    for name, value in start_task("train", variables).items():
        monkeypatch.setenv(name, value)
    for device in ("cpu", "cuda"):
        with tracked_task("train", {}) as tracker:
            tracker.settings({"device": device, "epochs": 3})
    run = store.get_run(os.environ["MLFLOW_RUN_ID"])
    assert (run.info.status, run.data.params) == ("FINISHED", {"device": "cpu", "epochs": "3"})
    assert run.data.tags["resumed.device"] == "cuda"
    assert messages(caplog) == []


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_killed_stage_is_said_to_be_and_a_finished_one_stays_so(
    store: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, variables = start_study("study", {})
    killed, done = start_task("killed", variables), start_task("done", variables)
    monkeypatch.setenv("MLFLOW_RUN_ID", done["MLFLOW_RUN_ID"])
    with tracked_task("done", {}):
        pass
    for task in (killed, done):
        end_task(task, "KILLED")
    with pytest.raises(KeyboardInterrupt), finished(study):
        raise KeyboardInterrupt
    assert {run.info.run_name: run.info.status for run in runs(store)} == {
        "study": "KILLED", "killed": "KILLED", "done": "FINISHED",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_is_resumed_goes_on_in_its_run_and_a_finished_study_is_left_as_it_was(
    store: MlflowClient, tmp_path: Path
) -> None:
    tags, command = {"stage": "study", "dataset": "toy's"}, f"train --model-dir {tmp_path}/model"
    study, variables = start_study("first", tags, str(tmp_path))
    task = start_task("train sasrec", variables, command)
    with pytest.raises(KeyboardInterrupt), finished(study):
        raise KeyboardInterrupt
    resumed, again = start_study("second", tags, str(tmp_path))
    assert again["MLFLOW_PARENT_RUN_ID"] == variables["MLFLOW_PARENT_RUN_ID"]
    assert start_task("train sasrec", again, command)["MLFLOW_RUN_ID"] == task["MLFLOW_RUN_ID"]
    other = start_task("train sasrec", again, f"{command} --seed 1")
    for one in (task, other):
        end_task(one, "FINISHED")
    assert {run.info.status for run in runs(store)} == {"FINISHED", "RUNNING"}
    resumed.finish("FINISHED")
    before = [run.to_dictionary() for run in runs(store)]
    assert len(before) == 3
    tracker, variables = start_study("third", tags, str(tmp_path), again=True)
    tracker.metrics({"ndcg@10": 1.0})
    tracker.finish("FINISHED")
    assert [run.to_dictionary() for run in runs(store)] == before
    assert variables["MLFLOW_PARENT_RUN_ID"] == again["MLFLOW_PARENT_RUN_ID"]
    _, elsewhere = start_study("elsewhere", tags, str(tmp_path / "other"))
    assert elsewhere["MLFLOW_PARENT_RUN_ID"] != again["MLFLOW_PARENT_RUN_ID"]
    _, of_others = start_study("other models", tags, str(tmp_path), "models: mamba4rec")
    assert of_others["MLFLOW_PARENT_RUN_ID"] != again["MLFLOW_PARENT_RUN_ID"]
    assert start_task("train", of_others, command)["MLFLOW_RUN_ID"] != task["MLFLOW_RUN_ID"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_stage_that_opens_its_run_itself_resumes_it_by_its_key(
    store: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As it does where MLflow did not answer when the study asked for the run."""
    _, variables = start_study("study", {"stage": "study"}, str(tmp_path))
    for name, value in {**variables, "SSM4REC_RESUME_KEY": "k" * 32}.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        with tracked_task("train", {}):
            pass
    assert sorted(run.info.run_name for run in runs(store)) == ["study", "train"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("seconds", [3.5, 5.5])
def test_a_run_that_is_being_opened_when_a_signal_comes_is_killed_and_the_only_one(
    store: MlflowClient, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """The lock of the store goes before the wait for the end is over (4 s after 1), and after it."""
    runs(store)  # the experiment is there, MLflow is loaded
    monkeypatch.setenv("SSM4REC_TRACKING_SECONDS", "4")
    monkeypatch.setattr("ssm4rec.tracking.delivery.CALL_SECONDS", 0.2)
    thread = locked(store_folder(store) / "mlflow.db", seconds)
    with pytest.raises(KeyboardInterrupt), tracked_task("train", {}):
        raise KeyboardInterrupt
    thread.join()
    deadline = time.monotonic() + 20
    while not (found := runs(store)) or {run.info.status for run in found} != {"KILLED"}:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    time.sleep(1.0)
    assert [run.info.status for run in runs(store)] == ["KILLED"]

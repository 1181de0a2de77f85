"""Tracking against real MLflow stores: nested runs, resumed runs, and a server that is not there."""

import logging
import socket
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from ssm4rec.tracking import start_study, start_task, tracked_task

MANIFEST = {
    "dataset": "toy",
    "fingerprint": "f" * 64,
    "sources": [{"address": "https://example.org/a.zip"}],
    "counts": {"users": 3, "items": 4, "interactions": 9},
    "split": {"name": "leave-one-out"},
}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    return MlflowClient(uri)


def runs(client: MlflowClient) -> list[Run]:
    return client.search_runs([experiment.experiment_id for experiment in client.search_experiments()])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of MLflow's own store
def test_tasks_nest_in_the_study_and_keep_everything(
    store: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, variables = start_study("study", {"stage": "study"}, artifacts=(tmp_path / "kept").as_uri())
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
    history = store.get_metric_history(run.info.run_id, "ndcg_at_10")
    assert [(point.step, point.value) for point in history] == [(1, 0.1), (2, 0.2)]
    assert run.inputs.dataset_inputs[0].dataset.name == "toy"
    assert [artifact.path for artifact in store.list_artifacts(run.info.run_id)] == ["note.txt", "report.html"]
    assert list((tmp_path / "kept").rglob("note.txt"))
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
    assert start_study("untracked", {}, artifacts="")[1] == {}
    assert start_task("untracked", {}) == {}


def test_dead_server_warns_once_and_the_work_goes_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0" * 32)
    started = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="ssm4rec"), tracked_task("train", {}) as tracker:
        for epoch in range(100):
            tracker.metrics({"loss": 1.0}, epoch)
        done = True
    assert done
    assert [record.message[:46] for record in caplog.records if record.name == "ssm4rec.tracking"] == [
        "MLflow tracking stopped, the work goes on: API"
    ]
    assert time.monotonic() - started < 60

"""What breaks while a study runs costs what was in work and nothing that was finished."""

import re
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tests.containers.engine import Engine
from tests.containers.servers import MlflowServer, fill, small_disk, wait
from tests.containers.study import Studies
from tests.seaweed import object_store_on

pytestmark = pytest.mark.containers

EPOCHS, BREAK = 40, 10
LONG = ("--models", "sasrec,mamba4rec", "--overrides", f"training.epochs={EPOCHS},training.patience={EPOCHS}")
"""Trainings long enough to break something in the middle."""

PREPARED = "prepare_data"
STAGES = {
    PREPARED,
    "train_recommender sasrec seed 0",
    "train_recommender mamba4rec seed 0",
    "evaluate sasrec seed 0",
    "evaluate mamba4rec seed 0",
    "compare_models",
    "measure_latency",
    "register_champion",
    "report",
}
SASREC = {stage for stage in STAGES if "mamba4rec" not in stage}


@pytest.fixture(scope="module")
def undisturbed(studies: Studies, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The results of a study to which nothing happens."""
    study = studies.make(tmp_path_factory.mktemp("undisturbed") / "study", *LONG)
    assert study.run().returncode == 0
    return study.results()


def test_killed_training_goes_on_from_its_checkpoint(
    studies: Studies, engine: Engine, cpu_image: str, tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    study = studies.make(tmp_path / "study", *LONG)
    running = study.start()
    running.wait_for(f"mamba4rec seed 0 epoch {BREAK}/{EPOCHS}")
    engine.docker("kill", container_of(engine, cpu_image, "train_recommender", "mamba4rec"))
    failed = running.finish()
    assert failed.returncode == 137
    assert "FAILED train_recommender mamba4rec seed 0: ended by signal 9 (" in failed.stderr
    assert PREPARED in failed.stages("done")

    done = study.run()
    assert done.returncode == 0, done.stderr
    assert done.stages("started") == STAGES - failed.stages("done")
    (last,) = re.findall(r"train_recommender mamba4rec seed 0: resumed after epoch (\d+) from", done.stdout)
    assert BREAK <= int(last) < EPOCHS
    epochs = re.findall(rf"\] mamba4rec seed 0 epoch (\d+)/{EPOCHS}(?:, [^:]* left)?: loss", done.stdout)
    assert [int(epoch) for epoch in epochs] == list(range(int(last) + 1, EPOCHS + 1))
    assert study.results() == undisturbed


def container_of(engine: Engine, image: str, *words: str) -> str:
    """Return the running container whose command has these words."""
    listed = ["ps", "--no-trunc", "--filter", f"ancestor={image}", "--format", "{{.ID}} {{.Command}}"]
    lines = engine.docker(*listed).splitlines()
    (found,) = [line.split()[0] for line in lines if all(word in line for word in words)]
    return found


def test_study_outlives_mlflow(
    studies: Studies, mlflow: MlflowServer, tmp_path: Path, undisturbed: list[dict[str, Any]]
) -> None:
    """The server's end costs a warning a task; back again, it gets the study's results from the same command."""
    variables = {"MLFLOW_EXPERIMENT_NAME": tmp_path.name, "SSM4REC_TRACKING_SECONDS": "5"}
    study = studies.make(tmp_path / "study", *LONG, **variables)
    running = study.start()
    running.wait_for(f"mamba4rec seed 0 epoch {BREAK}/{EPOCHS}")
    mlflow.stop()
    try:
        done = running.finish()
    finally:
        mlflow.start()
    assert done.returncode == 0, done.stderr
    assert done.stages("done") == STAGES
    assert study.results() == undisturbed
    # Said once for both trainings: word for word the same of another task is not shown again.
    warned = r"train_recommender (sasrec|mamba4rec) seed 0: MLflow does not answer, the work goes on and is recorded "
    assert re.search(f"{warned}later: ", done.stdout)
    assert "MLflow does not answer, the work goes on and is recorded later: " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr

    client = MlflowClient(mlflow.address)
    experiment = client.get_experiment_by_name(tmp_path.name).experiment_id
    (training, *_) = client.search_runs([experiment], "attributes.run_name = 'mamba4rec s0 train'")
    kept = client.get_metric_history(training.info.run_id, "train_loss")
    assert BREAK - 1 <= len(kept) < EPOCHS  # all until it stopped

    again = study.run()
    assert (again.returncode, again.stages("started")) == (0, {"register_champion", "report"})  # not taken before
    (latest, *_) = client.search_runs([experiment], "tags.stage = 'study'", order_by=["attributes.start_time DESC"])
    assert latest.info.status == "FINISHED"
    for row in undisturbed:
        name = f"{row['model']}/{row['protocol']}/{row['metric'].replace('@', '_at_')}"
        assert latest.data.metrics[name] == row["value"]


def test_full_store_of_artifacts(studies: Studies, tmp_path: Path) -> None:
    """The study is whole before the one error; the same command only stores what is missing."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk, 64 * 1024), object_store_on(disk, tmp_path) as store:
        store.client().put_object(Bucket=store.bucket, Key="data/events.csv", Body=studies.events)
        address = f"s3://{store.bucket}/results"
        study = studies.make(tmp_path / "study", "--models", "sasrec", "--artifacts", address, **store.variables)
        running = study.start()
        running.wait_for("prepare_data: done")
        filler = fill(disk, leave=4096)
        failed = running.finish()
        assert failed.returncode == 2
        assert failed.stages("done") == SASREC
        assert "train_recommender sasrec seed 0: not in the store yet, the study continues: s3://" in failed.stdout
        (line,) = [line for line in failed.stderr.splitlines() if "error" in line]
        assert f"error: --artifacts: {address}/" in line
        assert f"the study is whole in {study.folder}: make room, and the same command" in line
        assert "Traceback" not in failed.stdout + failed.stderr
        results = study.results()

        filler.unlink()
        wait(store.takes_objects, 150, "the store never noticed that its disk has room again")
        done = study.run()
        assert done.returncode == 0, done.stderr
        assert done.stages("started") == set()
        assert study.results() == results
        assert {"results/results.json", "results/report.html"} <= set(store.sizes())


def test_full_folder(studies: Studies, tmp_path: Path) -> None:
    """The stages say so; with room again, the same command goes on after the last that was finished."""
    folder = tmp_path / "study"
    folder.mkdir()
    with small_disk(folder, 64 * 1024):
        study = studies.make(folder, *LONG)
        running = study.start()
        running.wait_for(f"mamba4rec seed 0 epoch {BREAK}/{EPOCHS}")
        filler = fill(folder, leave=16 * 1024)
        failed = running.finish()
        assert failed.returncode == 2
        assert "FAILED train_recommender mamba4rec seed 0: " in failed.stderr
        assert "No space left on device; free space or choose another folder" in failed.stderr
        assert "Traceback" not in failed.stdout + failed.stderr
        assert PREPARED in failed.stages("done")

        filler.unlink()
        done = study.run()
        assert done.returncode == 0, done.stderr
        assert PREPARED not in done.stages("started")
        assert "mamba4rec seed 0 epoch 1/" not in done.stdout

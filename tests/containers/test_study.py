"""The whole study in containers: its data from a bucket, its results in a bucket and in MLflow."""

from collections.abc import Iterator

import pytest
from mlflow import MlflowClient

from ssm4rec.artifacts.names import BASELINES, PAPER_RECOMMENDERS
from ssm4rec.runtime.images import revision
from tests.containers.engine import Engine
from tests.containers.planted import Planted
from tests.containers.servers import MlflowServer
from tests.containers.study import Done, Studies, Study
from tests.seaweed import ObjectStore

pytestmark = pytest.mark.containers

PREFIX = "studies/whole/"


@pytest.fixture(scope="module")
def study(studies: Studies, tmp_path_factory: pytest.TempPathFactory, seaweed: ObjectStore) -> Study:
    """The study of the paper's recommenders."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    address = f"s3://{seaweed.bucket}/{PREFIX.rstrip('/')}"
    return studies.make(folder, "--artifacts", address, MLFLOW_EXPERIMENT_NAME="whole")


@pytest.fixture(scope="module")
def done(study: Study) -> Done:
    """Its run, which every test looks at."""
    return study.run()


def test_finishes_with_results_and_report(study: Study, done: Done) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    trained = {f"{stage} {model} seed 0" for stage in ("train_recommender", "evaluate") for model in PAPER_RECOMMENDERS}
    assert done.stages("done") == {
        "prepare_data", "compare_models", "measure_latency", "register_champion", "report", *trained,
    }  # fmt: skip
    rows = study.results()
    assert {row["model"] for row in rows} == {*PAPER_RECOMMENDERS, *BASELINES}
    values = {(row["model"], row["protocol"]): row["value"] for row in rows if row["metric"] == "ndcg@10"}
    assert values["mamba4rec", "masked"] > 2 * values["most-popular", "masked"]  # the circle was learned
    assert (study.folder / "report.html").read_text().startswith("<!doctype html>")


def test_stages_ran_in_our_image_as_the_folder_s_owner(
    study: Study, done: Done, engine: Engine, cpu_image: str
) -> None:
    owner = study.folder.stat().st_uid
    written = [path for path in (study.folder / "artifacts").rglob("*") if path.is_file()]
    written = [path for path in written if path.name != "command.json"]  # this process writes it, not the stage
    assert {path.stat().st_uid for path in written} == {owner}
    compiled = (study.folder / "pipeline" / "comparative_study_recommenders_one_split.yaml").read_text()
    assert f"image: {cpu_image}-{revision()}\n" in compiled  # in a registry, so by the commit
    assert engine.docker("ps", "--all", "--quiet", "--filter", f"ancestor={cpu_image}") == ""


def test_study_is_in_the_bucket(study: Study, done: Done, seaweed: ObjectStore) -> None:
    stored = {key.removeprefix(PREFIX): size for key, size in seaweed.sizes().items() if key.startswith(PREFIX)}
    for name, size in stored.items():
        assert (study.folder / name).stat().st_size == size
    assert {"results.json", "report.html", "report.md"} <= set(stored)
    weights = [name for name in stored if name.endswith("/model.safetensors")]
    assert len(weights) == len(PAPER_RECOMMENDERS) + 1  # and the champion's
    logs = [name for name in stored if name.startswith("logs/")]
    assert len(logs) == len(done.stages("done"))
    assert any(name.endswith("/01-prepare_data.log") for name in logs)


def test_metrics_are_in_mlflow(study: Study, done: Done, mlflow: MlflowServer) -> None:
    client = MlflowClient(mlflow.address)
    runs = client.search_runs([client.get_experiment_by_name("whole").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert len(children) == len(done.stages("done"))
    assert {run.data.tags["mlflow.parentRunId"] for run in children.values()} == {parent.info.run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    rows = [row for row in study.results() if (row["protocol"], row["metric"]) == ("masked", "ndcg@10")]
    for model in PAPER_RECOMMENDERS:
        (value,) = [row["value"] for row in rows if row["model"] == model]
        assert parent.data.metrics[f"{model}/masked/ndcg_at_10"] == value
        assert children[f"{model} s0"].data.metrics["masked/ndcg_at_10"] == value
        trained = children[f"{model} s0 train"].info.run_id
        assert [point.step for point in client.get_metric_history(trained, "train_loss")] == [1, 2]
        assert "model/model.safetensors" in {entry.path for entry in client.list_artifacts(trained, "model")}
    assert "report.html" in {entry.path for entry in client.list_artifacts(parent.info.run_id)}
    database = mlflow.database.dump()  # and they are where a server keeps them that is replaced
    assert parent.info.run_id.encode() in database
    assert b"mamba4rec/masked/ndcg_at_10" in database


def test_secrets_are_nowhere(
    study: Study, done: Done, mlflow: MlflowServer, seaweed: ObjectStore, planted: Planted
) -> None:
    """Though every stage had them in its environment, and read from the store with them."""
    forbidden = planted.all(seaweed)
    assert {study.environment["MLFLOW_TRACKING_PASSWORD"], study.environment["AWS_SECRET_ACCESS_KEY"]} <= set(forbidden)
    for place, content in places(study, done, mlflow, seaweed):
        assert not [secret for secret in forbidden if secret.encode() in content], place


def places(study: Study, done: Done, mlflow: MlflowServer, seaweed: ObjectStore) -> Iterator[tuple[str, bytes]]:
    """Yield everything that a study leaves, with where it is."""
    yield "stdout", done.stdout.encode()
    yield "stderr", done.stderr.encode()
    for path in study.folder.rglob("*"):  # logs, artifacts, compiled YAML, cache
        if path.is_file():
            yield str(path), path.read_bytes()
    client = seaweed.client()
    for key in seaweed.sizes():
        yield key, client.get_object(Bucket=seaweed.bucket, Key=key)["Body"].read()
    yield "MLflow's database", mlflow.database.dump()
    yield "MLflow's log", mlflow.log.read_bytes()


def test_again_repeats_nothing(study: Study, done: Done) -> None:
    results = study.results()
    again = study.run()
    assert again.returncode == 0, again.stderr
    assert again.stages("started") == set()
    assert study.results() == results

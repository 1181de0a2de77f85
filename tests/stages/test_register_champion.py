"""register_champion against real MLflow stores; tests/stages/test_served_champion.py asks what it registers."""

import json
import logging
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from mlflow import MlflowClient

from ssm4rec.artifacts.popularity import read_popularity
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.runtime.errors import InputError
from ssm4rec.stages.register_champion.__main__ import run
from ssm4rec.stages.register_champion.settings import Settings
from ssm4rec.tracking import start_study, start_task
from tests.conftest import Refusal
from tests.datasets import write_dataset_folder, write_items
from tests.mlflow_stores import new_store
from tests.seaweed import free_ports
from tests.trained_models import write_random_model

pytestmark = pytest.mark.filterwarnings(
    # MLflow's own: at import, about the input example, and of its store.
    "ignore:.*Any type hint is inferred:UserWarning",
    "ignore:Operation with range:DeprecationWarning",
    "ignore:.*noload:DeprecationWarning",
)

SEQUENCES = [[(start + step) % 12 + 1 for step in range(6 + start % 9)] for start in range(40)]
TITLES = [f"Film {item} (1995)" for item in range(1, 13)]
NAME = "ssm4rec-toy"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, and models of it whose validation is in their names."""
    folder = tmp_path_factory.mktemp("champions")
    dataset = write_items(write_dataset_folder(folder / "dataset", SEQUENCES), TITLES)
    for name, seed, validation in (("sasrec", 0, 0.2), ("2mamba4rec", 1, 0.3), ("hydra4rec", 0, 0.3)):
        write_random_model(dataset, folder / f"{name}-{validation}", name, validation, seed)
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Iterator[dict[str, str]]:
    """The variables under which a stage finds a study's run in an MLflow store without a server, as ``make run``'s."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", new_store(folder / "mlflow.db"))
        _, study = start_study("study", {})
        yield study


def register(
    out: Path,
    dataset: Path,
    *models: Path,
    store: dict[str, str] | None = None,
    executor_input: str = "",
    replace: bool = False,
) -> Path:
    """Run the stage, in a task's run of the store if one is given; return the champion's folder."""
    flags = ["--dataset-dir", dataset, "--champion-dir", out / "champion", "--executor-input", executor_input]
    flags += ["--registration", out / "registration.json", "--replace-champion", str(replace).lower()]
    if models:
        flags += ["--models", *models]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, value in start_task("register", store or {}).items():
            patch.setenv(name, value)
        run(Settings.parser().parse_args(list(map(str, flags))))
    return out / "champion"


def metadata(champion: Path) -> dict[str, str]:
    import yaml

    found: dict[str, str] = yaml.safe_load((champion / "MLmodel").read_text())["metadata"]
    return found


def test_the_best_is_written_without_a_store_and_kfp_is_told(folder: Path, tmp_path: Path) -> None:
    """Of two with the same validation the first by name; the list comes from the executor input."""
    models = [folder / name for name in ("sasrec-0.2", "hydra4rec-0.3", "2mamba4rec-0.3")]
    uri = str(tmp_path / "champion")
    executor_input = {
        "inputs": {"artifacts": {"models": {"artifacts": [{"uri": str(model)} for model in models]}}},
        "outputs": {
            "artifacts": {"champion": {"artifacts": [{"name": "champion", "uri": uri}]}},
            "outputFile": str(tmp_path / "executor_output.json"),
        },
    }
    champion = register(tmp_path, folder / "dataset", executor_input=json.dumps(executor_input))
    for name in ("config.json", "model.safetensors"):
        written = champion / "artifacts" / "recommender" / name
        assert written.read_bytes() == (folder / "2mamba4rec-0.3" / name).read_bytes()
    output = json.loads((tmp_path / "executor_output.json").read_text())
    shown = output["artifacts"]["champion"]["artifacts"][0]["metadata"]
    fingerprint = json.loads((folder / "dataset" / "manifest.json").read_text())["fingerprint"]
    assert shown.pop("outcome") == "2mamba4rec seed 1, the best of 3 by validation: not registered: nothing is tracked"
    assert shown == metadata(champion) == {
        "model": "2mamba4rec", "seed": "1", "profile": "quick", "dataset": "toy", "fingerprint": fingerprint,
        "split": "leave-one-out", "protocol": "unmasked", "validation_ndcg_at_10": "0.3",
    }  # fmt: skip


def test_popularity_of_the_last_days_is_written_for_a_server(folder: Path, tmp_path: Path) -> None:
    """Counted by hand: an item of many events long ago stands after one of a single event lately."""
    dataset = write_items(write_dataset_folder(tmp_path / "dataset", [[1, 1, 1, 2], [1, 1, 3, 2]]), ["a", None, "c"])
    events = pyarrow.parquet.read_table(dataset / "interactions.parquet")
    day = 86_400_000
    times = pyarrow.array([0, 0, 0, 30 * day, 0, 23 * day, 23 * day + 1, 30 * day], pyarrow.int64())
    place = events.schema.get_field_index("time")
    pyarrow.parquet.write_table(events.set_column(place, "time", times), dataset / "interactions.parquet")
    champion = register(tmp_path, dataset, write_random_model(dataset, tmp_path / "model", "sasrec", 0.2))
    found = read_popularity(champion / "artifacts/recommender/popularity.parquet")
    assert found == pytest.approx({"i1": 0 + 5 / 9, "i2": 2 + 2 / 9, "i3": 1 + 1 / 9})


def test_the_alias_goes_to_the_better_and_across_data_only_if_asked(
    folder: Path, tmp_path: Path, store: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ssm4rec")
    client = MlflowClient(store["MLFLOW_TRACKING_URI"])
    other = write_items(write_dataset_folder(tmp_path / "other", SEQUENCES[:30]), TITLES)
    strong = write_random_model(other, tmp_path / "strong", "lrurec", 0.9)
    smoke = write_random_model(folder / "dataset", tmp_path / "smoke", "lrurec", 0.99, profile="smoke")
    steps = [
        (folder / "dataset", smoke, "", "without the alias champion: trained with profile smoke"),
        (
            folder / "dataset",
            folder / "sasrec-0.2",
            "2",
            "registered as ssm4rec-toy version 2, models:/ssm4rec-toy@champion: the first one",
        ),
        (folder / "dataset", folder / "2mamba4rec-0.3", "3", "the champion so far 0.2000 (sasrec seed 0): replaced"),
        (folder / "dataset", folder / "sasrec-0.2", "3", "the champion so far 0.3000 (2mamba4rec seed 1): it stays"),
        (folder / "dataset", folder / "hydra4rec-0.3", "3", "it stays"),
        (folder / "dataset", smoke, "3", "without the alias champion: trained with profile smoke"),
        (other, strong, "3", "the champion so far is of other data: it stays; --replace-champion true"),
        (other, strong, "8", "the champion so far is of other data: replaced"),
        (folder / "dataset", folder / "sasrec-0.2", "9", "the champion so far is of other data: replaced"),
    ]
    for number, (dataset, model, holder, said) in enumerate(steps, start=1):
        caplog.clear()
        champion = register(tmp_path, dataset, model, store=store, replace=said.endswith("replaced") and number > 7)
        assert said in caplog.text
        version = client.get_model_version(NAME, str(number))
        assert version.tags == metadata(champion)
        assert re.search(
            r"^Metrics: \[validation\]\(#/\S+\), \[test\]\(#/\S+\); \[the study", version.description, re.M
        )
        aliases = client.get_registered_model(NAME).aliases
        assert str(aliases.get("champion", "")) == holder
        facts = RegistrationFacts.read(tmp_path / "registration.json")
        assert f"{facts.model} seed {facts.seed}" == f"{version.tags['model']} seed {version.tags['seed']}"
        assert (facts.registered_model, facts.version, facts.fingerprint) == (
            NAME, str(number), version.tags["fingerprint"],
        )  # fmt: skip
        assert facts.champion == (holder == str(number))
        assert said in facts.outcome
        task = client.get_run(version.run_id)
        assert (task.info.status, task.info.run_name) == ("FINISHED", "register toy")
        kept = Path(version.source.removeprefix("file://"))
        assert folder / "mlflow-artifacts" in kept.parents  # with the study's, not in the working folder
        assert (kept / "MLmodel").read_bytes() == (champion / "MLmodel").read_bytes()


def test_the_outcome_is_written_where_somebody_says() -> None:
    """Not over a file of that name in the folder that happens to be the working one."""
    with pytest.raises(InputError, match="required: --registration"):
        Settings.parser().parse_args(["--dataset-dir=d", "--models=m", "--champion-dir=champion"])


def test_a_dead_server_costs_the_registration_only(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ssm4rec")
    dead = {
        "MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_ports(1)[0]}",
        "MLFLOW_RUN_ID": "0" * 32,
        "SSM4REC_TRACKING_SECONDS": "4",
    }
    flags = ["--dataset-dir", folder / "dataset", "--champion-dir", tmp_path / "champion"]
    flags += ["--models", folder / "sasrec-0.2", "--registration", tmp_path / "registration.json"]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in dead.items():
            patch.setenv(name, value)
        run(Settings.parser().parse_args(list(map(str, flags))))
    assert "MLflow does not answer, the work goes on" in caplog.text
    assert "sasrec seed 0, the best of 1 by validation: not registered: MLflow did not take it" in caplog.text
    assert metadata(tmp_path / "champion")["model"] == "sasrec"
    facts = RegistrationFacts.read(tmp_path / "registration.json")
    assert (facts.version, facts.champion, facts.outcome) == ("", False, "not registered: MLflow did not take it")


def test_foreign_and_damaged_inputs(folder: Path, tmp_path: Path, refusal: Refusal) -> None:
    out, dataset, good = tmp_path / "out", folder / "dataset", folder / "sasrec-0.2"

    def error(dataset: Path, *models: Path) -> str:
        named = ("--models", *models) if models else ()
        said = refusal(
            run, "--dataset-dir", dataset, "--champion-dir", out / "champion", *named, "--registration", out / "r.json"
        )
        assert not out.exists()
        return said

    assert "--models: none; name the model folders" in error(dataset)
    other = write_items(write_dataset_folder(tmp_path / "other", SEQUENCES[:9], "other"), TITLES)
    foreign = write_random_model(other, tmp_path / "foreign", "sasrec", 0.9)
    assert f"{foreign}: trained on other" in error(dataset, good, foreign)
    assert "no such file" in error(dataset, good, tmp_path / "nowhere")
    masked = write_random_model(dataset, tmp_path / "masked", "sasrec", 0.9)
    config = json.loads((masked / "config.json").read_text())
    config["training"]["validation_protocol"] = "masked"  # as an earlier version wrote it
    (masked / "config.json").write_text(json.dumps(config))
    assert f"{masked}: validated with the history masked, models compete unmasked" in error(dataset, good, masked)

    damaged = tmp_path / "damaged"
    shutil.copytree(folder / "2mamba4rec-0.3", damaged)
    (damaged / "model.safetensors").write_bytes(b"half")
    assert f"{damaged}/model.safetensors: damaged" in error(dataset, good, damaged)
    config = json.loads((damaged / "config.json").read_text())
    del config["training"]["validation_ndcg@10"]
    (damaged / "config.json").write_text(json.dumps(config))
    assert "not the config of a recommender (training.validation_ndcg@10: Field required)" in error(
        dataset, good, damaged
    )
    bare = tmp_path / "bare"
    shutil.copytree(dataset, bare)
    (bare / "items.parquet").unlink()
    assert "items.parquet: no such file; run prepare_data first" in error(bare, good)

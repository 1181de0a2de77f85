"""The compiled comparative study on this machine, whole."""

import hashlib
import json
import re
import runpy
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient
from safetensors.torch import load_file, save_file

from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import METRICS, TIME_BASELINES
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.runtime.object_store import upload
from ssm4rec.tracking import page_address
from ssm4rec.training.model_folder import read_model
from tests.pipelines.conftest import write_archive
from tests.pipelines.studies import finish_study, parameters_that_kfp_logs, run_study, started
from tests.seaweed import ObjectStore, free_ports


def test_whole_study(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--models", "sasrec,2mamba4rec", "--seeds", "0,1", "--global-time", "sasrec")
    done = finish_study(archive, tmp_path, *flags)
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    assert {(row["model"], row["seed"]) for row in rows} == {
        ("sasrec", 0), ("sasrec", 1), ("2mamba4rec", 0), ("2mamba4rec", 1),
        *((name, None) for name in TIME_BASELINES),
    }  # fmt: skip
    novelty = {(row["model"], row["protocol"]) for row in rows if row["metric"] == "novelty@10"}
    assert novelty >= {(name, which) for name in ("sasrec", "most-popular") for which in ("unmasked", "masked")}
    costs = {row["metric"] for row in rows if "_seconds" in row["metric"]}
    assert costs == {"cpu_seconds", "cpu_seconds_per_1000_users"}
    rows = [row for row in rows if row["metric"].partition("@")[0] in METRICS]
    assert [row["splitting"] for row in rows] == (4 + 4) * 2 * 9 * ["leave-one-out"] + (1 + 5) * 2 * 9 * ["global-time"]
    rows = [row for row in rows if row["splitting"] == "leave-one-out"]  # protocols, metrics at cutoffs
    assert "history unmasked" in done.stdout
    assert f"again    the same command with --out {study} (make: OUT={study}) repeats only " in done.stdout
    assert re.search(
        r"measure_latency: sample 5 of 5 for latency: .*sample 15 of 15 for cost on one thread: ",
        done.stdout,
        re.DOTALL,
    )
    assert "Traceback" not in done.stdout + done.stderr
    assert (study / "report.html").read_text().startswith("<!doctype html>")
    assert (study / "report.md").is_file()
    for name in ("sasrec-seed0", "sasrec-seed1", "2mamba4rec-seed0", "2mamba4rec-seed1"):
        assert {path.name for path in (study / "models" / name).iterdir()} == {
            "config.json", "items.parquet", "model.safetensors", "curve.parquet"
        }  # fmt: skip
        assert json.loads((study / "evaluations" / name / "metrics.json").read_text())["users"] == 30
    assert json.loads((study / "dataset" / "manifest.json").read_text())["counts"]["users"] == 30
    example = Path(__file__).parents[1] / "examples" / "compare_models.py"
    capsys.readouterr()  # MLflow says that it makes a store, the first time in a process
    monkeypatch.setattr("sys.argv", [example.name, str(study), str(tmp_path / "picture.png")])
    runpy.run_path(str(example))
    monkeypatch.setattr("sys.argv", [example.name, str(study)])
    with pytest.raises(SystemExit, match=r"^2$"):
        runpy.run_path(str(example))
    drawn = {(row["model"], row["seed"]): row["value"] for row in rows
             if (row["protocol"], row["metric"]) == ("unmasked", "ndcg@10") and row["seed"] is not None}  # fmt: skip
    printed, refused = capsys.readouterr()
    assert refused.startswith("usage: python tests/examples/compare_models.py STUDY_FOLDER PICTURE")
    assert all(f"{model}-seed{seed} {value:.4f}; ranked first" in printed for (model, seed), value in drawn.items())
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")

    manifests = [read_manifest(study / name) for name in ("dataset", "dataset-global-time")]
    assert [manifest["split"]["name"] for manifest in manifests] == ["leave-one-out", "global-time"]
    for folder in ("models", "evaluations"):
        names = {path.name for path in (study / folder).iterdir()}
        assert {name for name in names if "global" in name} == {"sasrec-seed0-global-time"}
    trained = read_model(study / "models" / "sasrec-seed0-global-time").config
    assert trained["fingerprint"] == manifests[1]["fingerprint"] != manifests[0]["fingerprint"]
    assert len(list((study / "checkpoints").iterdir())) == 4 + 1
    assert len({path.name.partition("-")[2] for path in (study / "logs").glob("*/*.log")}) == 2 * (2 + 4 + 1) + 3
    assert "## Without looking into the future" in (study / "report.md").read_text()

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    (champion,) = client.search_model_versions("name = 'ssm4rec-ml-100k'")
    assert client.get_registered_model("ssm4rec-ml-100k").aliases == {}, "of profile smoke"
    of_this_split = [path for path in (study / "models").iterdir() if "global-time" not in path.name]
    configs = [json.loads((path / "config.json").read_text()) for path in of_this_split]
    best = max(config["training"]["validation_ndcg@10"] for config in configs)
    said = f"{champion.tags['model']} seed {champion.tags['seed']}, the best of 4 by validation: registered as "
    said += "ssm4rec-ml-100k version 1, without the alias champion: trained with profile smoke"
    registered = RegistrationFacts.read(study / "registration.json")
    assert (registered.version, registered.champion, registered.outcome) == ("1", False, said.partition(": ")[2])
    assert said in done.stdout.splitlines()[-6:]
    assert float(champion.tags["validation_ndcg_at_10"]) == best
    written, kept = study / "champion" / "MLmodel", Path(champion.source.removeprefix("file://")) / "MLmodel"
    assert written.read_bytes() == kept.read_bytes()

    runs = client.search_runs([client.get_experiment_by_name("ssm4rec").experiment_id])
    (parent,) = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = {run.info.run_name: run for run in runs if run is not parent}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children.values())
    assert all(run.info.status == "FINISHED" for run in runs)
    assert set(children) == {
        "prepare ml-100k",
        "prepare ml-100k global-time",
        "compare ml-100k",
        "compare ml-100k global-time",
        "latency ml-100k cpu",
        "register ml-100k",
        "report comparative ml-100k",
        *(f"{model} s{seed}{stage}" for stage in (" train", "")
          for model in ("sasrec", "2mamba4rec") for seed in (0, 1)),
        *("sasrec s0 global-time train", "sasrec s0 global-time"),
    }  # fmt: skip
    evaluated = children["sasrec s1"]
    wanted = ("sasrec", 1, "masked", "ndcg@10")
    (value,) = [row["value"] for row in rows if (row["model"], row["seed"], row["protocol"], row["metric"]) == wanted]
    assert evaluated.data.metrics["masked/ndcg_at_10"] == value
    figures = {
        entry.path for entry in client.list_artifacts(children["report comparative ml-100k"].info.run_id, "figures")
    }
    assert {"figures/train_loss.png", "figures/train_loss.csv"} <= figures
    later = children["sasrec s0 global-time"]
    assert (later.data.params["splitting"], later.data.params["event_order"]) == ("global-time", "exact")
    of_best = children["sasrec s0 global-time train"].data.metrics["best_validation_ndcg_at_10"]
    assert of_best == trained["training"]["validation_ndcg@10"]
    study_page = f"#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}/artifacts"
    assert study_page in champion.description
    chosen = f"{champion.tags['model']} s{champion.tags['seed']}"
    for split, stage in (("validation", " train"), ("test", "")):
        page = f"[{split}](#/experiments/{parent.info.experiment_id}/runs"
        of_run = f"{page}/{children[f'{chosen}{stage}'].info.run_id}?"
        # Stages that do not need each other come in another order each time.
        assert of_run in champion.description or (split == "test" and f"{page}?" in champion.description)
    told = re.fullmatch(r"MLflow   make mlflow PORT=(\d+) shows (.*)", done.stdout.splitlines()[-1])
    assert told
    assert told[2] == page_address(f"http://127.0.0.1:{told[1]}", parent.info.experiment_id)
    assert not any(parameters_that_kfp_logs(tmp_path).values())
    assert parent.data.metrics["global-time/sasrec/masked/ndcg_at_10"] == later.data.metrics["masked/ndcg_at_10"]


def test_data_of_one_user_are_refused_before_the_trainings(archive: Path, tmp_path: Path) -> None:
    flags = ("--source", str(archive), "--any-checksum", "true", "--k-core", "2", "--draw-users", "1")
    done = run_study(tmp_path, *flags, "--models", "sasrec")
    assert done.returncode == 2
    assert started(done.stdout) == ["prepare_data"]
    line = next(line for line in done.stderr.splitlines() if line.startswith("FAILED prepare_data: "))
    assert "1 of its 1 users have a test target" in line


def test_language_models_join_the_study(archive: Path, tmp_path: Path, language_model: Callable[[str], Path]) -> None:
    """The whole DAG, with a tiny Llama as the ranker and generators from scratch."""
    flags = ("--models", "sasrec", "--llm", "all", "--language-model", str(language_model("llama")))
    flags += ("--retriever", "sasrec", "--llm-overrides", "finetune.negatives=5,align.negatives=3")
    finish_study(archive, tmp_path, *flags)
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    assert {row["model"] for row in rows} >= {"sasrec", "gpt4rec", "mamrec"}
    counted = {row["protocol"] for row in rows if row["model"].startswith("llamarec")}
    assert counted == {"among candidates", "among candidates shuffled", "all users", "all users shuffled"}
    for part in ("finetuned", "aligned"):
        (adapter,) = (study / "language-models").glob(f"llama-seed0-{part}")
        assert (adapter / "adapter_model.safetensors").is_file()
        assert (study / "language-models" / f"llama-seed0-{part}-ranking" / "ranking.json").is_file()
    logged = parameters_that_kfp_logs(tmp_path)
    assert {word for name in logged for word in name.split()} >= {"finetune", "align", "rank", "mine", "train"}
    assert "sasrec s0" in logged  # its evaluation
    assert not any(logged.values()), logged
    report = (study / "report.md").read_text()
    assert "ORPO" in report
    assert "GPT4Rec" in report
    again = finish_study(archive, tmp_path, *flags)
    assert ": started" not in again.stdout


@pytest.mark.slow
def test_a_changed_language_model_is_trained_again_and_an_unchanged_one_is_not(
    archive: Path, tmp_path: Path, language_model: Callable[[str], Path]
) -> None:
    """Both named by overrides only, as ``LLM_OVERRIDES=source=./m GENERATOR_OVERRIDES=source=./m`` of make does."""
    weights = Path(shutil.copytree(language_model("llama"), tmp_path / "m")) / "model.safetensors"
    flags = ("--models", "sasrec", "--llm", "all", "--retriever", "sasrec", "--generator-overrides", "source=./m")
    flags += ("--llm-overrides", "source=./m,finetune.negatives=5,align.negatives=3")
    finish_study(archive, tmp_path, *flags)
    assert ": started" not in finish_study(archive, tmp_path, *flags).stdout
    before = validation_losses(tmp_path / "study")

    save_file({name: 0.5 * values for name, values in load_file(weights).items()}, weights, {"format": "pt"})
    again = finish_study(archive, tmp_path, *flags)
    repeated = {stage.partition(" ")[0] for stage in started(again.stdout)}
    assert repeated >= {"finetune_llm", "align_llm", "rank_candidates", "train_generator", "evaluate_generator"}
    assert not repeated & {"prepare_data", "train_recommender", "mine_preferences"}
    after = validation_losses(tmp_path / "study")
    assert len(after) == 2
    assert all(after[model] != loss for model, loss in before.items())


def validation_losses(study: Path) -> dict[str, float]:
    """Return the best validation loss of each generator, which tells what it was made of."""
    facts = [json.loads(path.read_text()) for path in study.glob("models/*/generator.json")]
    return {fact["model"]: fact["training"]["validation_loss"] for fact in facts}


def test_the_same_command_makes_up_for_what_failed_and_repeats_nothing_else(
    archive: Path, tmp_path: Path, object_store: ObjectStore
) -> None:
    """A stage that failed, an MLflow that was away, a store that took nothing; events and results are in a bucket."""
    upload([archive], archive.parent, f"s3://{object_store.bucket}/data")
    source = f"s3://{object_store.bucket}/data/{archive.name}"
    flags = ["--source", source, "--any-checksum", "true", "--models", "sasrec", "--k-core", "2"]
    flags += ["--cache-dir", str(tmp_path / "downloads"), "--artifacts"]
    failed = run_study(tmp_path, *flags, "s3://no-such-bucket/run", "--overrides", "training.learning_rate=1e30")
    assert failed.returncode == 2
    assert "diverged" in failed.stderr
    assert "prepare_data: not in the store yet, the study continues" in failed.stdout

    away = {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{free_ports(1)[0]}", "SSM4REC_TRACKING_SECONDS": "1"}
    unstored = run_study(tmp_path, *flags, "s3://no-such-bucket/run", variables=away)
    assert unstored.returncode == 2
    assert "\nsasrec seed 0, the best of 1 by validation: not registered" in unstored.stdout
    assert "answers again" not in unstored.stdout + unstored.stderr
    trained, evaluated, *rest = started(unstored.stdout)
    assert (trained, evaluated) == ("train_recommender sasrec seed 0", "evaluate sasrec seed 0")
    assert sorted(rest) == ["compare_models", "measure_latency", "register_champion", "report"]
    assert rest.index("report") > max(rest.index("compare_models"), rest.index("measure_latency"))
    *_, line = unstored.stderr.splitlines()
    assert "--artifacts: s3://no-such-bucket/run: the store does not answer as it should" in line
    assert f"--out {tmp_path / 'study'} stores it without repeating a stage" in line
    results = (tmp_path / "study" / "results.json").read_bytes()

    (tmp_path / "link").symlink_to("study")
    done = run_study(tmp_path, *flags, f"s3://{object_store.bucket}/run", "--out", str(tmp_path / "link"))
    assert done.returncode == 0, done.stderr
    assert started(done.stdout) == ["register_champion", "report"]  # there is an MLflow now
    assert "\nsasrec seed 0, the best of 1 by validation: registered as" in done.stdout
    assert {path.name for path in (tmp_path / "study").iterdir() if path.is_symlink()} == {
        "dataset", "comparison.json", "latency.json", "latency.parquet", "champion", "registration.json", "figures"
    }  # fmt: skip
    assert not (tmp_path / "study" / "language-models").exists()
    assert (tmp_path / "study" / "results.json").read_bytes() == results
    *earlier, last = sorted((tmp_path / "study" / "logs").iterdir())
    assert len(earlier) == 2
    assert sorted(path.name for path in last.iterdir()) == ["01-register_champion.log", "02-report.log"]
    assert f"report: started, log in {last / '02-report.log'}\n" in done.stdout
    _check_stored(object_store, tmp_path / "study")
    secret = object_store.variables["AWS_SECRET_ACCESS_KEY"]
    assert not any(secret in run.stdout + run.stderr for run in (failed, unstored, done))
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):  # logs, results, MLflow's database
        assert secret.encode() not in file.read_bytes(), file


def _check_stored(store: ObjectStore, study: Path) -> None:
    sizes = store.sizes()
    assert {"run/results.json", "run/report.html", "run/report.md"} <= set(sizes)
    assert any(re.fullmatch(r"run/logs/[-\d]+/01-prepare_data\.log", name) for name in sizes)
    assert sum(name.endswith("/model.safetensors") for name in sizes) >= 2  # the training's and the champion's
    here_only = ("run/checkpoints", "run/cache", "run/downloads", "run/.ssm4rec.json")
    assert not any(name.startswith(here_only) for name in sizes)
    stored = {name: size for name, size in sizes.items() if name.startswith("run/")}
    assert stored == {name: (study / name.removeprefix("run/")).stat().st_size for name in stored}


@pytest.mark.slow
def test_a_changed_file_is_prepared_again_and_all_that_follows(archive: Path, tmp_path: Path) -> None:
    flags = ("--models", "sasrec")
    first = started(finish_study(archive, tmp_path, *flags).stdout)
    before, numbers = read_manifest(tmp_path / "study" / "dataset"), (tmp_path / "study" / "results.json").read_bytes()
    write_archive(archive, pace=-1)
    assert archive.stat().st_size == before["sources"][0]["bytes"]
    assert set(started(finish_study(archive, tmp_path, *flags).stdout)) == set(first)
    after = read_manifest(tmp_path / "study" / "dataset")
    assert after["fingerprint"] != before["fingerprint"]
    assert after["sources"][0]["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (tmp_path / "study" / "results.json").read_bytes() != numbers


def test_failing_stage_shows_its_own_error(tmp_path: Path) -> None:
    (tmp_path / "nowhere.zip").write_bytes(b"PK")
    flags = ("--source", str(tmp_path / "nowhere.zip"), "--any-checksum", "true", "--models", "sasrec")
    failed = run_study(tmp_path, *flags)
    assert failed.returncode == 2
    (line,) = [line for line in failed.stderr.splitlines() if line.startswith("FAILED")]
    assert line.startswith("FAILED prepare_data: python -m ssm4rec.stages.prepare_data: error: ")
    assert "nowhere.zip" in line
    assert "Traceback" not in failed.stderr + failed.stdout


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ["--models", "gru4rec"],
            "--models gru4rec: unknown; choose from sasrec, mamba4rec, 2mamba4rec, hydra4rec, lrurec",
        ),
        (["--dataset", "events", "--source", "x.csv", "--name", "a b"], "--name 'a b': use letters, digits"),
    ],
)
def test_mistakes_are_named_before_anything_runs(tmp_path: Path, flags: list[str], message: str) -> None:
    failed = run_study(tmp_path, *flags)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert not (tmp_path / "study").exists()

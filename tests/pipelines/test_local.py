"""The compiled study on this machine, whole; and the guard of the seam in kfp.local that it runs through."""

import inspect
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from kfp.local import docker_task_handler, executor_input_utils, executor_output_utils, io, subprocess_task_handler
from mlflow import MlflowClient

from pipelines.local import PATCHED, LocalStudy
from pipelines.long_history_study import DEFAULT_LENGTHS, DEFAULT_TRAININGS
from pipelines.parameters.long_histories import long_history_study_arguments
from pipelines.run import _report_failures
from pipelines.run_long_histories import build_parser as long_history_parser
from pipelines.run_long_histories import main as run_long_histories
from pipelines.runners import HostProcesses
from ssm4rec.data.dataset import read_manifest
from ssm4rec.llm.adapter_sweep import SCALES as ADAPTER_SCALES
from ssm4rec.object_store import upload
from ssm4rec.training.model_folder import read_model
from ssm4rec.training.sweep import SCALES
from tests.seaweed import ObjectStore

ROOT = Path(__file__).parents[2]

MEND = """kfp's private API changed. pipelines/local.py replaces nine names of kfp.local (its docstring says why).
Read kfp/local/task_dispatcher.py of the new version: how it builds a task handler, calls run(), constructs the executor
input and collects the outputs; adapt pipelines/local.py, then this test; keep kfp pinned in images/constraints.txt."""


def test_seam_is_as_it_was() -> None:
    assert version("kfp") == "2.17.0", MEND
    assert all(hasattr(module, name) for module, name in PATCHED), MEND
    for handler in (subprocess_task_handler.SubprocessTaskHandler, docker_task_handler.DockerTaskHandler):
        parameters = inspect.signature(handler.__init__).parameters
        assert list(parameters) == ["self", "image", "full_command", "pipeline_root", "runner", "env_vars"], MEND
    construct = inspect.signature(executor_input_utils.construct_executor_input)
    assert list(construct.parameters) == ["component_spec", "arguments", "task_root", "block_input_artifact"], MEND
    collect = inspect.signature(executor_output_utils.get_outputs_for_task)
    assert list(collect.parameters) == ["executor_input", "component_spec"], MEND
    assert list(inspect.signature(io.IOStore.get_parent_input).parameters) == ["self", "key"], MEND
    assert list(inspect.signature(io.IOStore.get_task_output).parameters) == ["self", "task_name", "key"], MEND
    assert hasattr(io.IOStore(), "_task_output_data"), MEND


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of ML-100K's layout: 30 users who walk round a circle of 20 films."""
    rows = [
        f"{user}\t{(user + step) % 20 + 1}\t{step % 5 + 1}\t{880000000 + step}"
        for user in range(1, 31)
        for step in range(8 + user % 9)
    ]
    films = [
        f"{film}|Film {film} (1995)|01-Jan-1995||http://example.org|" + "|".join("0" * 19) for film in range(1, 21)
    ]
    path = tmp_path / "ml-100k.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("ml-100k/u.data", "\n".join(rows) + "\n")
        file.writestr("ml-100k/u.item", "\n".join(films).encode("latin-1") + b"\n")
    return path


def run_study(folder: Path, *flags: str, module: str = "pipelines.run") -> subprocess.CompletedProcess[str]:
    """Run a study in an empty folder, as ``make run`` does in the repository's."""
    hidden = ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "components")]), "OMP_NUM_THREADS": "1"}
    parts = []
    if module == "pipelines.run":
        parts = ["--llm", "none", "--latency-samples", "5", "--latency-users", "20", "--latency-batches", "1,8"]
        parts += ["--global-time", "none"]
    command = [sys.executable, "-m", module, "--profile", "smoke", "--out", str(folder / "study"), *parts, *flags]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # of MLflow's own store
def test_whole_study(archive: Path, tmp_path: Path) -> None:
    flags = ("--models", "sasrec,2mamba4rec", "--seeds", "0,1", "--k-core", "2", "--global-time", "sasrec")
    done = run_study(tmp_path, "--source", str(archive), "--any-checksum", "true", *flags)
    assert done.returncode == 0, done.stderr + done.stdout
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    assert {(row["model"], row["seed"]) for row in rows} == {
        ("sasrec", 0), ("sasrec", 1), ("2mamba4rec", 0), ("2mamba4rec", 1), ("most-popular", None),
    }  # fmt: skip
    assert [row["splitting"] for row in rows] == 5 * 2 * 9 * ["leave-one-out"] + 2 * 2 * 9 * ["global-time"]
    rows = [row for row in rows if row["splitting"] == "leave-one-out"]  # protocols, metrics at cutoffs
    assert "history not masked (the paper)" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert (study / "report.html").read_text().startswith("<!doctype html>")
    assert (study / "report.md").is_file()
    for name in ("sasrec-seed0", "sasrec-seed1", "2mamba4rec-seed0", "2mamba4rec-seed1"):
        assert (study / "models" / name / "model.safetensors").is_file()
        assert json.loads((study / "evaluations" / name / "metrics").read_text())["users"] == 30
    assert json.loads((study / "dataset" / "manifest.json").read_text())["counts"]["users"] == 30

    manifests = [read_manifest(study / name) for name in ("dataset", "dataset-global-time")]
    assert [manifest["split"]["name"] for manifest in manifests] == ["leave-one-out", "global-time"]
    for folder in ("models", "evaluations"):
        names = {path.name for path in (study / folder).iterdir()}
        assert {name for name in names if "global" in name} == {"sasrec-seed0-global-time"}
    trained = read_model(study / "models" / "sasrec-seed0-global-time").config
    assert trained["fingerprint"] == manifests[1]["fingerprint"] != manifests[0]["fingerprint"]
    assert len(list((study / "checkpoints").iterdir())) == 4 + 1
    assert len({path.name.partition("-")[2] for path in (study / "logs").glob("*.log")}) == 2 * (2 + 4 + 1) + 3
    assert "## Without looking into the future" in (study / "report.md").read_text()

    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    champion = client.get_model_version_by_alias("ssm4rec-ml-100k", "champion")
    of_this_split = [path for path in (study / "models").iterdir() if "global-time" not in path.name]
    configs = [json.loads((path / "config.json").read_text()) for path in of_this_split]
    best = max(config["training"]["validation_ndcg@10"] for config in configs)
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
        "report ml-100k",
        *(f"{stage} {model} ml-100k seed {seed}" for stage in ("train", "evaluate")
          for model in ("sasrec", "2mamba4rec") for seed in (0, 1)),
        *(f"{stage} sasrec ml-100k global-time seed 0" for stage in ("train", "evaluate")),
    }  # fmt: skip
    evaluated = children["evaluate sasrec ml-100k seed 1"]
    wanted = ("sasrec", 1, "masked", "ndcg@10")
    (value,) = [row["value"] for row in rows if (row["model"], row["seed"], row["protocol"], row["metric"]) == wanted]
    assert evaluated.data.metrics["masked/ndcg_at_10"] == value
    figures = {entry.path for entry in client.list_artifacts(children["report ml-100k"].info.run_id, "figures")}
    assert {"figures/train_loss.png", "figures/train_loss.csv"} <= figures
    later = children["evaluate sasrec ml-100k global-time seed 0"]
    assert later.data.tags["splitting"] == "global-time"
    assert parent.data.metrics["global-time/sasrec/masked/ndcg_at_10"] == later.data.metrics["masked/ndcg_at_10"]


@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # of MLflow's own store
def test_events_and_results_in_a_bucket_and_nothing_twice(
    archive: Path, tmp_path: Path, object_store: ObjectStore
) -> None:
    """A full store ends the command, not the study; with room again, the same command stores what there is."""
    upload([archive], archive.parent, f"s3://{object_store.bucket}/data")
    source = f"s3://{object_store.bucket}/data/{archive.name}"
    flags = ["--source", source, "--any-checksum", "true", "--models", "sasrec", "--k-core", "2"]
    flags += ["--cache-dir", str(tmp_path / "downloads"), "--artifacts"]
    failed = run_study(tmp_path, *flags, "s3://no-such-bucket/run")
    assert failed.returncode == 2
    assert "train_recommender sasrec seed 0: not in the store yet, the study goes on" in failed.stdout
    *_, line = failed.stderr.splitlines()  # MLflow says before it that it makes its tables
    assert "--artifacts: s3://no-such-bucket/run: the store does not answer as it should" in line
    assert f"--out {tmp_path / 'study'} stores it without repeating a stage" in line
    results = (tmp_path / "study" / "results.json").read_bytes()

    done = run_study(tmp_path, *flags, f"s3://{object_store.bucket}/run")
    assert done.returncode == 0, done.stderr
    assert ": started" not in done.stdout
    assert (tmp_path / "study" / "results.json").read_bytes() == results
    stored = object_store.sizes()
    assert stored["run/results.json"] == len(results)
    assert {"run/report.html", "run/report.md", "run/logs/01-prepare_data.log"} <= set(stored)
    assert sum(name.endswith("/model.safetensors") for name in stored) == 2  # the training's and the champion's
    assert not any(name.startswith(("run/checkpoints", "run/cache", "run/downloads")) for name in stored)
    secret = object_store.variables["AWS_SECRET_ACCESS_KEY"]
    assert secret not in failed.stdout + failed.stderr + done.stdout + done.stderr
    for file in (path for path in tmp_path.rglob("*") if path.is_file()):  # logs, results, MLflow's database
        assert secret.encode() not in file.read_bytes(), file


def test_a_stage_that_failed_is_repeated_and_no_other(archive: Path, tmp_path: Path) -> None:
    flags = ("--source", str(archive), "--any-checksum", "true", "--models", "sasrec", "--k-core", "2")
    failed = run_study(tmp_path, *flags, "--overrides", "training.learning_rate=1e30")
    assert failed.returncode == 2
    assert "diverged" in failed.stderr
    done = run_study(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    started = [line.split(":")[0] for line in done.stdout.splitlines() if ": started" in line]
    # What waits for nothing of the other is taken in the order of a set by kfp.local: the second split anywhere.
    trained, evaluated, *rest = [label for label in started if not label.endswith("global-time")]
    assert (trained, evaluated) == ("train_recommender sasrec seed 0", "evaluate sasrec seed 0")
    assert sorted(rest) == ["compare_models", "measure_latency", "register_champion", "report"]
    assert rest.index("report") > max(rest.index("compare_models"), rest.index("measure_latency"))
    assert (tmp_path / "study" / "dataset" / "manifest.json").is_file()


def test_failing_stage_shows_its_own_error(tmp_path: Path) -> None:
    failed = run_study(tmp_path, "--source", str(tmp_path / "nowhere.zip"), "--models", "sasrec")
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
        (["--profile", "huge"], "--profile huge: unknown; choose from smoke, quick, llm-small, paper, best"),
        (["--seeds", "a"], "--seeds a: write whole numbers separated by commas"),
    ],
)
def test_mistakes_are_named_before_anything_runs(tmp_path: Path, flags: list[str], message: str) -> None:
    failed = run_study(tmp_path, *flags)
    assert failed.returncode == 2
    assert message in failed.stderr
    assert not (tmp_path / "study").exists()


@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # of MLflow's own store
def test_optimizer_study(archive: Path, tmp_path: Path) -> None:
    """The second loop goes over what the sweep's winner made of the first."""
    flags = ["--source", str(archive), "--any-checksum", "true", "--models", "sasrec", "--k-core", "2"]
    flags += ["--optimizers", "usgm", "--controls", "fixed,paper", "--seeds", "3"]
    done = run_study(tmp_path, *flags, "--overrides", "training.epochs=1", module="pipelines.run_optimizers")
    assert done.returncode == 0, done.stderr + done.stdout
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    trials = [row for row in rows if row["phase"] == "sweep"]
    compared = [row for row in rows if row["phase"] == "comparison"]
    assert sorted(row["scale"] for row in trials) == sorted(SCALES["usgm"])
    best = max(trials, key=lambda row: (row["best_validation_ndcg@10"], row["scale"]))
    assert {(row["scale"], row["batch_control"], row["seed"]) for row in compared} == {
        (best["scale"], control, 3) for control in ("fixed", "paper")
    }
    assert "**sasrec**: best is usgm" in done.stdout
    assert len(list((study / "models").iterdir())) == len(rows)
    assert len(list((study / "checkpoints").iterdir())) == len(rows)
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ssm4rec").experiment_id])
    (parent,) = [run for run in runs if run.data.tags.get("stage") == "study"]
    reached = parent.data.metrics["sasrec/usgm/paper/validation_ndcg_at_10"]
    (row,) = [row for row in compared if row["batch_control"] == "paper"]
    assert reached == row["best_validation_ndcg@10"]


@pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")  # of MLflow's own store
def test_long_history_study(archive: Path, tmp_path: Path) -> None:
    """Every model at every window; one of each model is timed."""
    flags = ["--source", str(archive), "--any-checksum", "true", "--models", "sasrec,2mamba4rec", "--k-core", "2"]
    flags += ["--lengths", "3,8", "--latency-lengths", "4,30", "--latency-samples", "5"]
    done = run_study(tmp_path, *flags, "--overrides", "training.epochs=1", module="pipelines.run_long_histories")
    assert done.returncode == 0, done.stderr + done.stdout
    study = tmp_path / "study"
    trained = {f"{model}-seed0-window{window}" for model in ("sasrec", "2mamba4rec") for window in (3, 8)}
    assert {path.name for path in (study / "models").iterdir()} == trained
    assert {path.name for path in (study / "evaluations").iterdir()} == trained
    for name in trained:
        config = json.loads((study / "models" / name / "config.json").read_text())
        assert config["recipe"]["model"]["maximum_length"] == int(name.rpartition("window")[2])
        assert config["recipe"]["training"]["stretches"] == "all"
    rows = json.loads((study / "results.json").read_text())
    costs = [row for row in rows if row["kind"] == "cost" and row["histories"] == "generated"]
    assert {(row["model"], row["mode"], row["length"]) for row in costs} == {
        (model, mode, length)
        for model in ("sasrec", "2mamba4rec") for mode in ("full", "step", "prefill") for length in (4, 30)
    }  # fmt: skip
    states = {(row["model"], row["length"]): row["state_bytes"] for row in costs if row["mode"] == "step"}
    assert states["2mamba4rec", 4] == states["2mamba4rec", 30] > 0
    assert states["sasrec", 30] > 5 * states["sasrec", 4]
    assert "**2mamba4rec**: best with a window of" in done.stdout
    assert "What a server keeps of one user" in done.stdout
    assert (study / "figures" / "state-against-length.png").is_file()
    client = MlflowClient(f"sqlite:///{tmp_path}/runs/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("ssm4rec").experiment_id])
    (parent,) = [run for run in runs if run.data.tags.get("stage") == "study"]
    wanted = ("sasrec", 8, "unmasked", "ndcg@10")
    (value,) = [
        row["value"]
        for row in rows
        if row["kind"] == "quality" and (row["model"], row["window"], row["protocol"], row["metric"]) == wanted
    ]
    assert parent.data.metrics["sasrec/window8/unmasked/ndcg_at_10"] == value


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lengths", "50"], "--lengths 50: at least two, each at least 1, such as 50,200"),
        (["--lengths", "50,many"], "--lengths 50,many: write whole numbers separated by commas, such as 50,200"),
        (["--lengths", "0,50"], "--lengths 0,50: at least two, each at least 1"),
        (["--latency-lengths", "0"], "--latency-lengths 0: at least one, each at least 1"),
        (["--latency-samples", "2"], "--latency-samples 2: at least 5, or there is no interval"),
        (["--models", "gru4rec"], "--models gru4rec: unknown; choose from"),
        (["--overrides", "model.maximum_length=9"], "model.maximum_length is what this study sets; name windows with"),
        (["--overrides", "training.stretches=one"], "training.stretches is what this study sets; leave it out"),
    ],
)
def test_mistakes_in_a_long_history_study(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = ["--out", str(tmp_path / "study")]
    monkeypatch.setattr(sys, "argv", ["run_long_histories", *out, *flags])
    with pytest.raises(SystemExit) as stopped:
        run_long_histories()
    assert stopped.value.code == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert message in line
    assert not (tmp_path / "study").exists()


def test_a_long_history_study_is_every_model_at_every_window() -> None:
    parser = long_history_parser()
    flags = ["--models", "lrurec,sasrec", "--lengths", "10,99", "--seeds", "3,4", "--overrides", "training.epochs=2"]
    arguments = long_history_study_arguments(parser.parse_args(flags))
    assert arguments["trainings"] == [
        {
            "model": model,
            "seed": seed,
            "overrides": f"model.maximum_length={window},training.stretches=all,training.epochs=2",
        }
        for model in ("lrurec", "sasrec")
        for window in (10, 99)
        for seed in (3, 4)
    ]
    without = long_history_study_arguments(parser.parse_args([]))
    assert without["trainings"] == DEFAULT_TRAININGS
    assert without["latency_lengths"] == DEFAULT_LENGTHS


def one_stage(folder: Path, code: str) -> LocalStudy:
    """A study of one stage that runs this Python code, ended."""
    (folder / "stage.py").write_text(code)
    environment = {"PYTHONPATH": str(folder)}
    study = LocalStudy(folder, HostProcesses(), {}, lambda module: environment, lambda line: None, lambda process: None)
    with pytest.raises(Exception, match=r"^stage$"):
        study.start("image", ["python", "-m", "stage"])
    return study


def test_a_stage_that_was_killed_is_said_to_have_been(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = one_stage(tmp_path, "import os; print('epoch 1', flush=True); os.kill(os.getpid(), 9)")
    with pytest.raises(SystemExit) as stopped:
        _report_failures(study)
    assert stopped.value.code == 128 + 9
    assert "ended by signal 9 (9 often means: out of memory)" in capsys.readouterr().err


def test_a_disk_that_is_full_here_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "01-stage.log").symlink_to("/dev/full")
    study = one_stage(tmp_path, "print('a line')")
    with pytest.raises(SystemExit) as stopped:
        _report_failures(study)
    assert stopped.value.code == 2
    assert "01-stage.log: No space left on device; free space or choose another --out" in capsys.readouterr().err


def test_language_models_join_the_study(archive: Path, tmp_path: Path, language_model: Callable[[str], Path]) -> None:
    """The whole DAG, with a tiny Llama as the ranker and generators from scratch."""
    flags = ("--models", "sasrec", "--llm", "all", "--language-model", str(language_model("llama")), "--k-core", "2")
    flags += ("--retriever", "sasrec", "--llm-overrides", "finetune.negatives=5,align.negatives=3")
    done = run_study(tmp_path, "--source", str(archive), "--any-checksum", "true", *flags)
    assert done.returncode == 0, done.stderr + done.stdout
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    assert {row["model"] for row in rows} >= {"sasrec", "gpt4rec", "mamrec"}
    counted = {row["protocol"] for row in rows if row["model"].startswith("llamarec")}
    assert counted == {"among candidates", "among candidates shuffled", "all users", "all users shuffled"}
    for part in ("finetuned", "aligned"):
        (adapter,) = (study / "language-models").glob(f"llama-seed0-{part}")
        assert (adapter / "adapter_model.safetensors").is_file()
        assert (study / "language-models" / f"llama-seed0-{part}-ranking" / "ranking").is_file()
    report = (study / "report.md").read_text()
    assert "ORPO" in report
    assert "GPT4Rec" in report
    again = run_study(tmp_path, "--source", str(archive), "--any-checksum", "true", *flags)
    assert again.returncode == 0, again.stderr
    assert ": started" not in again.stdout


def test_adapter_study(archive: Path, tmp_path: Path, language_model: Callable[[str], Path]) -> None:
    """A tiny Llama, fine-tuned by USGM at every scale; each fine-tuning is kept apart."""
    flags = ["--source", str(archive), "--any-checksum", "true", "--retriever", "sasrec", "--k-core", "2"]
    flags += ["--language-model", str(language_model("llama")), "--optimizers", "usgm"]
    overrides = "finetune.negatives=5,finetune.prompts=8"
    done = run_study(tmp_path, *flags, "--llm-overrides", overrides, module="pipelines.run_adapters")
    assert done.returncode == 0, done.stderr + done.stdout
    study = tmp_path / "study"
    rows = json.loads((study / "results.json").read_text())
    assert sorted(row["scale"] for row in rows) == sorted(ADAPTER_SCALES["usgm"])
    assert "**usgm** at" in done.stdout
    assert {path.name for path in (study / "language-models").iterdir()} == {
        f"llama-seed0-finetuned-usgm-{scale:g}" for scale in ADAPTER_SCALES["usgm"]
    }
    assert (study / "figures" / "adapter-loss.csv").is_file()

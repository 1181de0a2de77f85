"""measure_latency: the files it writes agree with each other, and what it cannot measure it refuses in one line."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ssm4rec.artifacts.latency import LatencySummary, read_samples
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.latency.summary import crossings, mark_outliers, results
from ssm4rec.ops.backend import choose_backend
from ssm4rec.report.measurements import gather_latency, why_not_measured
from ssm4rec.stages.measure_latency.__main__ import run
from ssm4rec.stages.measure_latency.settings import Settings
from tests.conftest import Refusal
from tests.trained_models import write_random_model

NAMES = ("sasrec", "2mamba4rec", "hydra4rec")
SIZES = ("--samples=5", "--users=20", "--single-users=4", "--batches=8,1", "--lengths=5,30", "--device=cpu")


def write_model(dataset: Path, folder: Path, name: str, seed: int = 0, overrides: str = "") -> Path:
    """A model folder as train_recommender writes it, with random weights."""
    return write_random_model(dataset, folder, name, 0.1, seed, overrides, profile="smoke")


@pytest.fixture
def models(cycle_dataset: Path, tmp_path: Path) -> list[Path]:
    return [write_model(cycle_dataset, tmp_path / "models" / name, name) for name in NAMES]


def flags(dataset: Path, out: Path, *more: str) -> list[str]:
    return [f"--dataset-dir={dataset}", f"--latency={out / 'latency'}", f"--summary={out / 'summary'}", *SIZES, *more]


def in_a_pipeline(models: list[Path], out: Path) -> str:
    """What KFP tells the stage: its inputs and outputs."""
    executor_input = {
        "inputs": {"artifacts": {"models": {"artifacts": [{"uri": str(model)} for model in models]}}},
        "outputs": {
            "artifacts": {"shown": {"artifacts": [{"name": "shown", "uri": str(out / "shown")}]}},
            "outputFile": str(out / "executor_output.json"),
        },
    }
    return json.dumps(executor_input)


def test_in_a_study_a_measurement_that_fails_costs_the_latency_alone(
    cycle_dataset: Path, models: list[Path], tmp_path: Path
) -> None:
    """By hand it is refused; after a study's trainings the report gets files that say why there is nothing."""
    out = tmp_path / "out"
    run(
        Settings.parser().parse_args(
            flags(cycle_dataset, out, "--users=41", "--executor-input", in_a_pipeline(models, out))
        )
    )
    summary = LatencySummary.read(out / "summary")
    assert summary.failure.startswith("--users 41: only 40 users of toy have a test target")
    assert summary.results == ()
    assert (out / "latency").exists()
    manifest = read_manifest(cycle_dataset)
    assert gather_latency(manifest, set(), out / "summary", out / "latency") is None
    assert why_not_measured(out / "summary") == summary.failure


def test_files_agree(cycle_dataset: Path, models: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    threads = torch.get_num_threads()
    options = flags(cycle_dataset, out, "--threads=1", "--executor-input", in_a_pipeline(models, out))
    run(Settings.parser().parse_args(options))
    assert torch.get_num_threads() == threads
    summary, rows = LatencySummary.read(out / "summary"), read_samples(out / "latency")
    # Two models answer in two modes: five a batch. At length 5 on generated and real histories, at 30 on generated,
    # with the two models' prefill.
    # Each of the five a batch costs 15 rounds more.
    assert len(rows) == 5 * (5 * 2 + 7 * 3) + 15 * 5 * 2
    assert {(row.device, row.precision, row.kernels, row.compiled, row.threads) for row in rows} == {
        ("cpu", "fp32", "auto", False, 1)
    }
    assert mark_outliers([replace(row, outlier=False) for row in rows]) == rows
    assert results(rows, seed=0) == summary.results
    assert crossings(summary.results) == summary.crossings
    assert {(one.model, one.mode) for one in summary.crossings} == {
        ("2mamba4rec", "full"), ("2mamba4rec", "step"), ("2mamba4rec", "prefill"), ("hydra4rec", "full"),
    }  # fmt: skip
    for result in summary.results:
        assert 0 < result.mean.low <= result.mean.value <= result.mean.high
        assert result.forward_share + result.scoring_share + result.topk_share == pytest.approx(1)
        assert result.weight_bytes > 0
    (sizes,) = {
        result.state_bytes for result in summary.results if (result.model, result.mode) == ("2mamba4rec", "step")
    }
    assert sizes > 0  # the same at every length and batch
    assert summary.protocol["single_users"] == 4
    assert {"device_name", "timer", "load_average", "others_cores", "idle", "cores"} <= set(summary.machine)
    written = json.loads((out / "executor_output.json").read_text())["artifacts"]["shown"]["artifacts"][0]
    shown = {name: value for name, value in written["metadata"].items() if "length" not in name}
    expected = {}
    for one in summary.results:
        if one.length is None:
            assert one.cpu_seconds_per_user
            name = f"{one.model}/seed0/smoke/{one.mode}/batch{one.batch}"
            expected[f"{name}/ms_per_user"] = 1e3 * one.mean.value
            expected[f"{name}/cpu_seconds_per_1000_users"] = 1e3 * one.cpu_seconds_per_user.value
    assert shown == expected
    assert "one thread" in summary.protocol["cost_rule"]


def test_every_choice_stands_in_the_rows(cycle_dataset: Path, models: list[Path], tmp_path: Path) -> None:
    more = ("--precision=bf16", "--kernels=torch", "--threads=1", "--lengths=", "--models", str(models[0]))
    try:
        run(Settings.parser().parse_args(flags(cycle_dataset, tmp_path, *more)))
    finally:
        choose_backend("auto", torch.device("cpu"))
    rows = read_samples(tmp_path / "latency")
    assert len(rows) == (5 + 15) * 2 * 2
    assert {(row.precision, row.kernels, row.threads) for row in rows} == {("bf16", "torch", 1)}


def test_what_cannot_be_measured_is_refused(
    cycle_dataset: Path,
    models: list[Path],
    tmp_path: Path,
    write_dataset: Callable[..., Path],
    refusal: Refusal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "out"

    def error(*more: str, of: list[Path] = models) -> str:
        return refusal(run, *flags(cycle_dataset, out, *more), "--models", *of)

    assert "only 40 users of toy have a test target; draw them with replacement" in error("--users=1500")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "--device cuda: there is none here (" in error("--device=cuda")
    other = write_dataset([[1, 2, 3, 4, 5]] * 9, name="other", folder="other")
    foreign = write_model(other, tmp_path / "models" / "foreign", "lrurec")
    assert "foreign: trained on other" in (message := error(of=[*models, foreign]))
    assert "a comparison is on one data set" in message
    again = write_model(cycle_dataset, tmp_path / "models" / "again", "sasrec")
    assert "again: a second sasrec of profile smoke and seed 0" in error(of=[*models, again])
    assert "--models: none" in error(of=[])
    assert "--samples 2: at least 5" in error("--samples=2")
    assert "--batches 64: from 1 to the 20 users" in error("--batches=64")
    assert "--lengths fifty: whole numbers" in error("--lengths=fifty")
    assert "--threads -1" in error("--threads=-1")
    assert "--precision tf32: only a GPU has it" in error("--precision=tf32")
    assert "no such file" in error(of=[tmp_path / "nowhere"])
    assert not out.exists()


def test_of_several_windows_the_longest_is_measured(cycle_dataset: Path, tmp_path: Path, refusal: Refusal) -> None:
    folders = {
        window: write_model(cycle_dataset, tmp_path / str(window), "sasrec", overrides=f"model.max_length={window}")
        for window in (5, 20, 10)
    }
    other = write_model(cycle_dataset, tmp_path / "other", "sasrec", overrides="model.max_length=9,model.dropout=0")
    more = ("--longest-only=true", "--batches=8", "--lengths=", "--models", *map(str, folders.values()))
    run(Settings.parser().parse_args(flags(cycle_dataset, tmp_path / "out", *more)))
    (sizes,) = {result.weight_bytes for result in LatencySummary.read(tmp_path / "out" / "summary").results}
    weights = load_file(folders[20] / "model.safetensors").values()
    assert sizes == sum(tensor.numel() * tensor.element_size() for tensor in weights)
    assert "other: a second sasrec of profile smoke and seed 0" in refusal(
        run, *flags(cycle_dataset, tmp_path / "no", *more), other
    )


def test_users_may_be_drawn_with_replacement(cycle_dataset: Path, models: list[Path], tmp_path: Path) -> None:
    more = ("--users=60", "--with-replacement=true", "--batches=60", "--lengths=", "--models", str(models[0]))
    run(Settings.parser().parse_args(flags(cycle_dataset, tmp_path, *more)))
    drawn = {(row.kind, row.users, row.batch) for row in read_samples(tmp_path / "latency")}
    assert drawn == {("users", 60, 60), ("cost", 240, 60)}, "of 40 users"

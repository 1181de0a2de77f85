"""train_recommender as a process: what it writes, that a killed one resumes, and one line for each mistake."""

import hashlib
import json
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, read_curve
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.stages.train_recommender.__main__ import checkpoint_name, run
from ssm4rec.stages.train_recommender.settings import Settings
from tests.conftest import Refusal
from tests.datasets import write_dataset_folder

PROGRAM = [sys.executable, "-m", "ssm4rec.stages.train_recommender"]
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
TINY = "training.epochs=150,training.patience=199,training.tokens_per_batch=32"


def command(dataset: Path, folder: Path, *flags: str) -> list[str]:
    outputs = ["--model-dir", str(folder / "model"), "--curve", str(folder / "curve.parquet")]
    return ["--dataset-dir", str(dataset), "--model", "2mamba4rec", "--profile", "smoke", *outputs, *flags]


def finish(arguments: list[str], largest_file: int = resource.RLIM_INFINITY) -> subprocess.CompletedProcess[str]:
    """Run the stage to its end; ``largest_file`` bytes is all it can write to one file."""
    return subprocess.run(
        PROGRAM + arguments,
        stderr=subprocess.PIPE,
        text=True,
        env=ONE_THREAD,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file)),
    )


def end_after_another_epoch(arguments: list[str], folder: Path, number: signal.Signals) -> tuple[int, str]:
    """Start a training in a folder and end it in the epochs after its next checkpoint; return its status and stderr."""

    def written() -> set[int]:
        found = (folder / "model.checkpoints").glob("2mamba4rec-seed0-*/checkpoint.safetensors")
        return {path.stat().st_mtime_ns for path in found}

    before = written()
    with subprocess.Popen(PROGRAM + arguments, env=ONE_THREAD, stderr=subprocess.PIPE, text=True) as process:
        while written() == before:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        _, said = process.communicate()
    assert not (folder / "model").exists()
    assert not (folder / "curve.parquet").exists()
    return process.returncode, said


def test_killed_training_resumes_to_the_same_result(cycle_dataset: Path, tmp_path: Path) -> None:
    """One that is killed, resumed and interrupted, and resumed again."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert finish(command(cycle_dataset, whole, "--overrides", TINY)).returncode == 0
    arguments = command(cycle_dataset, killed, "--overrides", TINY)
    assert end_after_another_epoch(arguments, killed, signal.SIGKILL)[0] == -signal.SIGKILL
    status, said = end_after_another_epoch(arguments, killed, signal.SIGINT)
    assert "resumed after epoch" in said
    assert status == 130
    assert said.endswith("train_recommender: interrupted\n")
    assert "Traceback" not in said
    again = finish(arguments)
    assert again.returncode == 0
    assert "resumed after epoch" in again.stderr
    ours, theirs = (load_file(folder / "model" / "model.safetensors") for folder in (killed, whole))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in ours)

    def without_time(path: Path) -> Curve:
        curve = read_curve(path / "curve.parquet", "train_recommender")
        del curve.series[TRAIN, "cpu_seconds"]
        return curve

    assert without_time(killed) == without_time(whole)


def test_writes_what_the_readme_says(cycle_dataset: Path, tmp_path: Path) -> None:
    flags = command(cycle_dataset, tmp_path / "out", "--seed", "5", "--overrides", "training.epochs=2")
    run(Settings.parser().parse_args(flags))
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert (config["model"], config["seed"], config["profile"], config["dataset"]) == ("2mamba4rec", 5, "smoke", "toy")
    weights = load_file(tmp_path / "out" / "model" / "model.safetensors")
    learned = [tensor for name, tensor in weights.items() if name != "repeat_term.start"]
    assert config["parameters"] == sum(tensor.numel() for tensor in learned)
    curve = read_curve(tmp_path / "out" / "curve.parquet", "train_recommender")
    reached = curve.against("epoch", "ndcg@10", VALIDATION)
    assert [epoch for epoch, _ in reached] == [1, 2]
    best_epoch, best = max(reached, key=lambda point: point[1])
    assert config["training"]["validation_ndcg@10"] == best
    assert config["training"]["best_epoch"] == best_epoch
    assert sum(curve.values("batch_targets")) == curve.values("seen")[-1]
    assert config["training"]["seconds"] >= 0


def test_disk_that_cannot_take_the_output(cycle_dataset: Path, tmp_path: Path) -> None:
    flags = command(cycle_dataset, tmp_path / "out", "--overrides", "training.epochs=1")
    full = finish(flags, largest_file=2048)
    assert (full.returncode, "free space or choose another folder" in full.stderr) == (2, True)
    below_a_file = finish([*flags, "--curve", str(cycle_dataset / "manifest.json" / "curve.parquet")])
    assert (below_a_file.returncode, "manifest.json is not a folder" in below_a_file.stderr) == (2, True)
    for process in (full, below_a_file):
        assert "Traceback" not in process.stderr
    assert not list(tmp_path.glob("**/*.partial-*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--profile", "huge"], "--profile huge: unknown; choose from smoke, quick, llm-small, paper, best"),
        (["--device", "tpu"], "--device tpu: unknown; choose from auto, cpu, cuda"),
        (["--dataset-dir", "/nowhere"], "/nowhere/manifest.json: no such file"),
        (["--overrides", "training.epochs=x"], "--overrides training.epochs=x: 'x' is not a whole number"),
        (["--sed", "1"], "unrecognized arguments: --sed 1"),
    ],
)
def test_mistakes_get_one_line_and_status_2(
    cycle_dataset: Path, tmp_path: Path, refusal: Refusal, change: list[str], message: str
) -> None:
    flags = command(cycle_dataset, tmp_path / "out", "--overrides", "training.epochs=1", *change)
    assert message in refusal(run, *flags)
    assert not (tmp_path / "out" / "curve.parquet").exists()
    assert not list(tmp_path.glob("**/*.partial-*"))


def test_a_mistake_ends_a_process_with_one_line_and_status_2(cycle_dataset: Path, tmp_path: Path) -> None:
    process = finish([*command(cycle_dataset, tmp_path / "out"), "--model", "gru4rec"])
    (line,) = process.stderr.splitlines()
    assert process.returncode == 2
    assert "--model gru4rec: unknown; choose from sasrec, mamba4rec, 2mamba4rec" in line
    assert not (tmp_path / "out").exists()


def test_trainings_that_differ_in_overrides_have_checkpoints_of_their_own(
    cycle_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shared = ["--checkpoint-dir", str(tmp_path / "checkpoints"), "--overrides"]
    with caplog.at_level(logging.INFO):
        for place, optimizer in enumerate(("adamw", "adam")):
            overrides = f"training.epochs=1,training.optimizer={optimizer}"
            run(Settings.parser().parse_args(command(cycle_dataset, tmp_path / str(place), *shared, overrides)))
    assert "2mamba4rec seed 0 epoch 1/1" in caplog.text
    assert "resumed" not in caplog.text
    assert len(list((tmp_path / "checkpoints").glob("2mamba4rec-seed0-*/checkpoint.safetensors"))) == 2


def test_a_checkpoint_of_before_is_found_by_names_of_then_and_of_today(cycle_dataset: Path) -> None:
    """Its folder's name holds a digest of the overrides as they were written then."""
    dataset = read_sequences(cycle_dataset)
    before, today = "training.stretches=one,model.width=16", "training.crops=random,model.d_model=16"
    digest = hashlib.sha256(before.encode()).hexdigest()[:8]
    for overrides in (before, today):
        arguments = [*command(cycle_dataset, Path("none")), "--overrides", overrides]
        name = checkpoint_name(Settings.parser().parse_args(arguments), dataset)
        assert name == f"2mamba4rec-seed0-{dataset.fingerprint[:8]}-{digest}"


def test_two_data_sets_or_splits_have_checkpoints_of_their_own(cycle_dataset: Path, tmp_path: Path) -> None:
    other = write_dataset_folder(
        tmp_path / "other", [[start, start + 1, start + 2, start + 3] for start in range(1, 9)]
    )
    kept = tmp_path / "checkpoints"
    parsed = [
        Settings.parser().parse_args(command(folder, tmp_path / str(place), "--checkpoint-dir", str(kept)))
        for place, folder in enumerate((cycle_dataset, other))
    ]
    for options in parsed:
        run(options)  # the second would refuse the first one's checkpoint
    assert len(list(kept.glob("2mamba4rec-seed0-*/checkpoint.safetensors"))) == 2


def test_counted_operations_are_in_the_config(cycle_dataset: Path, tmp_path: Path, refusal: Refusal) -> None:
    flags = command(cycle_dataset, tmp_path, "--count-flops", "true")
    run(Settings.parser().parse_args(flags))
    facts = json.loads((tmp_path / "model" / "config.json").read_text())["training"]
    curve = read_curve(tmp_path / "curve.parquet", "train_recommender")
    assert facts["targets_seen"] == curve.values("seen")[-1]
    assert facts["output_flops"] == 3 * 2 * facts["targets_seen"] * 12 * 16
    assert facts["flops"] > 0
    said = refusal(run, *flags, "--overrides", "training.loss=sampled-softmax")
    assert "--count-flops true: counts a loss over the whole catalog, and training.loss is sampled-softmax" in said

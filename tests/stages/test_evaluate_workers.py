"""evaluate --workers: the same bytes by any number of Ray's processes, and the ranks of one process without Ray."""

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest
from safetensors.torch import load_file, save_file

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.names import TIME_BASELINES
from ssm4rec.artifacts.ranks import read_ranks
from ssm4rec.stages.evaluate.__main__ import run
from ssm4rec.stages.evaluate.settings import Settings
from tests.conftest import Refusal
from tests.datasets import write_dataset_folder, write_events
from tests.trained_models import write_random_model

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra ray, is not installed")
OUTPUTS = ("ranks", "candidates", "metrics")


def flags(dataset: Path, model: Path, out: Path, workers: int) -> list[str]:
    outputs = [f"--{name}={out / name}" for name in OUTPUTS]
    return [f"--dataset-dir={dataset}", f"--model-dir={model}", *outputs, f"--workers={workers}"]


def evaluate(dataset: Path, model: Path, out: Path, workers: int) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "ssm4rec.stages.evaluate", *flags(dataset, model, out, workers)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def leave_one_out(folder: Path) -> Path:
    """2,500 users, of whom 400 have too few items to be in a split."""
    random = numpy.random.default_rng(7)
    lengths = numpy.where(numpy.arange(2500) % 25 < 4, 2, random.integers(3, 12, 2500))
    return write_dataset_folder(folder, [random.integers(1, 41, length).tolist() for length in lengths])


def successive(folder: Path) -> Path:
    """Split by time: several targets per user."""
    random = numpy.random.default_rng(8)
    events = [
        (f"u{user}", int(random.integers(1, 41)), int(start) + 50 * step)
        for user, start in enumerate(random.integers(0, 5_000, 1_500))
        for step in range(12)
    ]
    write_events(folder, events)
    return folder


def test_workers_without_ray_are_refused_and_one_worker_needs_none(
    tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = write_dataset_folder(tmp_path / "dataset", [[1, 2, 3, 1]] * 9)
    model = write_random_model(dataset, tmp_path / "model", "sasrec", 0.1)
    monkeypatch.setattr("ssm4rec.runtime.extras.find_spec", lambda name: None)
    said = refusal(run, *flags(dataset, model, tmp_path / "out", 2))
    assert "--workers 2: Ray is not installed; install it (pip install 'ssm4rec[ray]'), or leave the flag out" in said
    assert "--workers -1: at least 0" in refusal(run, *flags(dataset, model, tmp_path / "out", -1))
    assert "--workers 0: Ray is not installed" in refusal(run, *flags(dataset, model, tmp_path / "out", 0))
    assert not (tmp_path / "out").exists()
    monkeypatch.setitem(sys.modules, "ray", None)  # an import of it fails
    run(Settings.parser().parse_args(flags(dataset, model, tmp_path / "out", 1)))
    assert EvaluationSummary.read(tmp_path / "out" / "metrics").shards == 1


@needs_ray
@pytest.mark.slow  # Ray's own processes take minutes on busy cores
@pytest.mark.parametrize(("write", "name"), [(leave_one_out, "sasrec"), (successive, "2mamba4rec")])
def test_any_number_of_workers_gives_the_same_bytes(write: Callable[[Path], Path], name: str, tmp_path: Path) -> None:
    """And one process the same but for what a score's last bit decides."""
    dataset = write(tmp_path / "dataset")
    model = write_random_model(dataset, tmp_path / "model", name, 0.1)
    for workers in (1, 2, 3):
        done = evaluate(dataset, model, tmp_path / str(workers), workers)
        assert done.returncode == 0, done.stderr
    for output in OUTPUTS:
        assert (tmp_path / "2" / output).read_bytes() == (tmp_path / "3" / output).read_bytes(), output
    alone, shared = (EvaluationSummary.read(tmp_path / number / "metrics") for number in "12")
    assert (alone.shards, shared.shards) == (1, -(-alone.targets // 1024))
    whole = read_sequences(dataset)
    assert [read_ranks(tmp_path / number / "ranks", whole).shards for number in "12"] == [1, shared.shards]
    assert alone.targets > alone.users if write is successive else alone.targets == alone.users == 2100
    assert alone.nll is not None
    assert shared.nll is not None
    assert shared.nll.value == pytest.approx(alone.nll.value, rel=1e-6)
    one, two = (pyarrow.parquet.read_table(tmp_path / number / "ranks") for number in "12")
    named = tuple(name.replace("-", "_") for name in TIME_BASELINES)
    baselines = [column for column in one.column_names if column.startswith(named)]
    same = ["user", "user_id", "target", "item_id", "history_length", *baselines]
    assert one.select(same).equals(two.select(same))
    assert len(baselines) == 10
    for column in ("rank_unmasked", "rank_masked"):
        assert (one.column(column).to_numpy() != two.column(column).to_numpy()).sum() <= 3
    one, two = (pyarrow.parquet.read_table(tmp_path / number / "candidates") for number in "12")
    assert one.column("user").equals(two.column("user"))
    scores = [table.column("scores").combine_chunks().values.to_numpy() for table in (one, two)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


@needs_ray
@pytest.mark.slow
def test_what_a_worker_finds_wrong_is_one_line(tmp_path: Path) -> None:
    """Weights that are finite, and scores that are not."""
    dataset = leave_one_out(tmp_path / "dataset")
    model = write_random_model(dataset, tmp_path / "model", "sasrec", 0.1)
    weights = load_file(model / "model.safetensors")
    save_file({name: tensor * 1e30 for name, tensor in weights.items()}, model / "model.safetensors")
    done = evaluate(dataset, model, tmp_path / "out", 2)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].endswith(
        "error: the model's scores are NaN or infinite: its training diverged; train it again"
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()

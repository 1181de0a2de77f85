"""choose_settings and the report of an optimizer study as processes: what they write, and what they refuse."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from ssm4rec.artifacts.curve import write_curve
from ssm4rec.stages.choose_settings.__main__ import run as choose_settings
from ssm4rec.stages.report.__main__ import run as report
from ssm4rec.training.epochs import learning_curve
from tests.conftest import Refusal, WriteDataset
from tests.epoch_rows import epoch_row

FIGURES = (
    "targets_seen-validation_ndcg", "targets_seen-train_loss", "cpu_seconds-validation_ndcg", "batches",
    "sensitivity",
)  # fmt: skip


STUDY = ("--study", "optimizers")


def write(folder: Path, optimizer: str, scale: float, control: str, seed: int, best: float) -> Path:
    path = folder / f"{optimizer}-{scale}-{control}-{seed}.parquet"
    row = epoch_row(
        seed=seed,
        validation_ndcg_10=best,
        targets=30,
        targets_seen=30,
        optimizer=optimizer,
        scale=scale,
        batch_control=control,
        batch_targets=[10, 20],
    )
    write_curve(path, learning_curve([row]))
    return path


def stage(name: str, *flags: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"ssm4rec.stages.{name}", *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def swept(tmp_path: Path) -> list[Path]:
    return [write(tmp_path, "adam", scale, "fixed", 0, scale * 10) for scale in (0.001, 0.002)]


def test_best_settings_and_their_report(swept: list[Path], tmp_path: Path, write_dataset: WriteDataset) -> None:
    chosen = tmp_path / "trainings.json"
    done = stage(
        "choose_settings", "--curves", *swept, "--controls", "fixed,paper", "--seeds", "5", "--trainings", chosen
    )
    assert done.returncode == 0, done.stderr
    assert "sasrec: adam at 0.002" in done.stderr + done.stdout
    assert json.loads(chosen.read_text()) == [
        {
            "model": "sasrec",
            "seed": 5,
            "overrides": "training.optimizer=adam,training.learning_rate=0.002,"
            f"training.batch_control={control},training.weight_decay=0",
            "label": f"adam-0.002-{control}",
        }
        for control in ("fixed", "paper")
    ]
    compared = [write(tmp_path, "adam", 0.002, control, 5, 0.1) for control in ("fixed", "paper")]
    texts = [
        "--report-html",
        tmp_path / "r.html",
        "--report-markdown",
        tmp_path / "r.md",
        "--results",
        tmp_path / "r.json",
        "--figures",
        tmp_path / "figures",
    ]
    data = ("--dataset-dir", write_dataset([[1, 2, 3, 4]]))
    done = stage("report", *STUDY, *data, "--sweep", *swept, "--curves", *compared, *texts)
    assert done.returncode == 0, done.stderr
    assert "Order `exact`" in (tmp_path / "r.md").read_text()
    assert len(json.loads((tmp_path / "r.json").read_text())) == 4
    assert (tmp_path / "r.md").read_text().startswith("# Optimizers and batch sizes on toy")
    assert "<svg" in (tmp_path / "r.html").read_text()
    assert {path.name for path in (tmp_path / "figures").glob("[!.]*")} == {
        f"sasrec-{name}.{kind}" for name in FIGURES for kind in ("png", "csv")
    }


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--controls", "growing"], "--controls growing: unknown; choose from fixed, paper, inverse, noise-scale"),
        (["--seeds", "one"], "--seeds one: write a whole number"),
        (["--curves"], "no learning curves to choose from"),
    ],
)
def test_choose_settings_refuses_in_one_line(
    swept: list[Path], tmp_path: Path, refusal: Refusal, flags: list[str], message: str
) -> None:
    line = refusal(choose_settings, "--curves", *swept, "--trainings", tmp_path / "out.json", *flags)
    assert message in line
    assert not (tmp_path / "out.json").exists()


def test_report_refuses_a_study_without_comparison(swept: list[Path], tmp_path: Path, refusal: Refusal) -> None:
    line = refusal(report, *STUDY, "--sweep", *swept, "--results", tmp_path / "r.json")
    assert "--curves: none, and the report of study optimizers needs it: curve.parquet of each training" in line


def test_report_refuses_data_of_other_trainings(
    swept: list[Path], write_dataset: WriteDataset, refusal: Refusal
) -> None:
    folder = write_dataset([[1, 2, 3, 4]], "other")
    line = refusal(report, *STUDY, "--dataset-dir", folder, "--sweep", *swept[:1], "--curves", *swept[:1])
    assert f"{folder}: the data are other, the trainings are of toy; give theirs" in line


def test_report_refuses_an_optimizer_that_nobody_knows(swept: list[Path], tmp_path: Path, refusal: Refusal) -> None:
    """The harness of faults found one called nan, which the report printed like a number that went wrong."""
    curve = pyarrow.parquet.read_table(swept[0])
    described = curve.schema.metadata[b"ssm4rec.training"].replace(b'"adam"', b'"nan"')
    pyarrow.parquet.write_table(curve.replace_schema_metadata({b"ssm4rec.training": described}), swept[0])
    texts = ("--results", tmp_path / "r.json")
    line = refusal(report, *STUDY, "--sweep", *swept, "--curves", swept[1], *texts)
    assert f"{swept[0]}: not a learning curve of train_recommender (optimizer: there is none called 'nan'" in line

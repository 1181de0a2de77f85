"""The report of a reproduction study as a process: it writes its table, or refuses before anything is written."""

import json
from pathlib import Path
from typing import Any

import pytest

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.stages.report.__main__ import run
from ssm4rec.stages.report.settings import Settings
from tests.conftest import Refusal, WriteDataset
from tests.studies.long_histories.files import write_ranks_file
from tests.studies.reproduction.test_report import trained

Files = dict[str, Path]


def place(folder: Path, dataset: SequenceDataset, files: Files, name: str, repeat_term: bool) -> None:
    """Write metrics and ranks of one training."""
    summary, ranks = trained(dataset, "sasrec", "best", repeat_term, (20, 22), fingerprint=dataset.fingerprint)
    files[f"ranks-{name}"], files[f"metrics-{name}"] = folder / f"{name}.parquet", folder / f"{name}.json"
    write_ranks_file(files[f"ranks-{name}"], dataset, ranks)
    summary.write(files[f"metrics-{name}"])


@pytest.fixture
def files(write_dataset: WriteDataset, tmp_path: Path) -> Files:
    """Metrics and ranks of SASRec with and without the repeat term, on 40 users in RecBole's order."""
    folder = write_dataset([[(user + step) % 40 + 1 for step in range(9)] for user in range(40)], name="ml-1m")
    change_manifest(folder, event_order={"name": "recbole"})
    files: Files = {"dataset": folder}
    for name, repeat_term in (("with", True), ("without", False)):
        place(tmp_path, read_sequences(folder), files, name, repeat_term)
    return files


def change_manifest(folder: Path, **changes: dict[str, Any]) -> None:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {name: manifest[name] | change for name, change in changes.items()}))


def command(files: Files, out: Path, metrics: tuple[str, ...], ranks: tuple[str, ...]) -> list[str]:
    flags = ["--study", "reproduction", "--dataset-dir", str(files["dataset"])]
    flags += ["--evaluations", *(str(files[f"metrics-{name}"]) for name in metrics)]
    flags += ["--ranks", *(str(files[f"ranks-{name}"]) for name in ranks)]
    outputs = {"--report-html": "a", "--report-markdown": "b", "--results": "c", "--figures": "d"}
    return [*flags, *(part for flag, name in outputs.items() for part in (flag, str(out / name)))]


def test_the_table_is_written(files: Files, tmp_path: Path) -> None:
    both = ("with", "without")
    run(Settings.parser().parse_args([*command(files, tmp_path / "out", both, both), "--resamples", "100"]))
    text = (tmp_path / "out" / "b").read_text()
    assert "| sasrec | `best` | yes | 0.5000 [" in text
    assert "arXiv 2408.05606, Table 3" in text
    assert {row["kind"] for row in json.loads((tmp_path / "out" / "c").read_text())} == {"quality", "mean", "training"}


@pytest.mark.parametrize(
    ("metrics", "ranks", "more", "message"),
    [
        (("with", "without"), ("with",), (), "--ranks: 1 file for 2 of --evaluations; give one for each"),
        (("with",), ("with",), ("--resamples=9",), "--resamples 9: at least 100"),
        (("with", "with"), ("with", "with"), (), "two evaluations of sasrec, best, with the repeat term seed 0"),
        ((), (), (), "--evaluations: none, and the report of study reproduction needs it: metrics.json of each"),
    ],
)
def test_what_does_not_belong_is_refused(
    files: Files, tmp_path: Path, refusal: Refusal,
    metrics: tuple[str, ...], ranks: tuple[str, ...], more: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    assert message in refusal(run, *command(files, tmp_path / "out", metrics, ranks), *more)
    assert not (tmp_path / "out").exists()


def test_another_order_of_events_is_refused(files: Files, tmp_path: Path, refusal: Refusal) -> None:
    change_manifest(files["dataset"], event_order={"name": "exact"})
    line = refusal(run, *command(files, tmp_path / "out", ("with",), ("with",)))
    assert f"--dataset-dir {files['dataset']}: the order of events is exact" in line
    assert "run prepare_data with --event-order recbole" in line
    assert not (tmp_path / "out").exists()


def test_another_data_set_is_refused(
    write_dataset: WriteDataset, files: Files, tmp_path: Path, refusal: Refusal
) -> None:
    files["dataset"] = write_dataset([[1, 2, 3, 4]], name="ml-100k", folder="other")
    line = refusal(run, *command(files, tmp_path / "out", ("with",), ("with",)))
    assert "the data set is ml-100k: the published figures are of ml-1m" in line
    assert not (tmp_path / "out").exists()

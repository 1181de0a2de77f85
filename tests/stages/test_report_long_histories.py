"""The report of a long-history study as a process: what it refuses in one line, before anything is written."""

from pathlib import Path

import pytest

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.stages.report.__main__ import run
from tests.conftest import Refusal
from tests.evaluation.test_windows import dataset, ranks_of, summary  # noqa: F401 - a fixture
from tests.studies.long_histories.files import latency, write_ranks_file


@pytest.fixture
def files(dataset: SequenceDataset, tmp_path: Path) -> dict[str, Path]:  # noqa: F811
    """Metrics and ranks of SASRec at two windows, and a sweep over lengths of another data set."""
    paths = {}
    for window, rank in ((5, 3), (20, 1)):
        ranks = ranks_of(dataset, "sasrec", rank)
        paths[f"ranks{window}"] = tmp_path / f"ranks{window}.parquet"
        write_ranks_file(paths[f"ranks{window}"], dataset, ranks)
        paths[f"metrics{window}"] = tmp_path / f"metrics{window}.json"
        summary(ranks, window).write(paths[f"metrics{window}"])
    paths["latency"] = tmp_path / "latency.json"
    latency().summary.write(paths["latency"])
    return paths


@pytest.mark.parametrize(
    ("metrics", "ranks", "more", "message"),
    [
        ((5, 20), (5,), (), "--ranks: 1 file for 2 of --evaluations; give one for each"),
        ((5,), (5,), ("--resamples=9",), "--resamples 9: at least 100"),
        ((5, 20), (5, 20), (), "latency.json: on ml-1m"),
        ((), (), (), "--evaluations: none, and the report of study long-histories needs it: metrics.json of each"),
    ],
)
def test_what_does_not_belong_is_refused(
    files: dict[str, Path], tmp_path: Path, refusal: Refusal,
    metrics: tuple[int, ...], ranks: tuple[int, ...], more: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    out = tmp_path / "out"
    flags = ["--study", "long-histories", "--dataset-dir", tmp_path / "dataset", "--latency", files["latency"], *more]
    flags += ["--evaluations", *(files[f"metrics{window}"] for window in metrics)]
    flags += ["--ranks", *(files[f"ranks{window}"] for window in ranks)]
    outputs = {"--report-html": "a", "--report-markdown": "b", "--results": "c", "--figures": "d"}
    flags += [part for flag, name in outputs.items() for part in (flag, out / name)]
    assert message in refusal(run, *flags)
    assert not out.exists()

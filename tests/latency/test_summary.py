"""From rows to results: shares, percentiles and crossings by closed forms; files come back as they were written."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy
import pyarrow.parquet
import pytest

from ssm4rec.artifacts.latency import LatencyResult, LatencySummary, TimedSample, read_samples, write_samples
from ssm4rec.latency.summary import crossings, mark_outliers, results
from ssm4rec.runtime.errors import InputError

MakeRow = Callable[..., TimedSample]


def test_one_group_in_numbers(row: MakeRow) -> None:
    seconds = [1.0, 2.0, 3.0, 4.0, 9.0]
    rows = mark_outliers([row(spent, sample=i, order=i) for i, spent in enumerate(seconds)])
    assert [one.outlier for one in rows] == [False, False, False, False, True]  # quartiles 2 and 4: the fence is 7
    (result,) = results(rows, seed=0)
    assert (result.samples, result.outliers, result.users) == (5, 1, 10)
    assert result.mean.value == pytest.approx(0.38)  # 10 users
    assert result.mean_without_outliers.value == pytest.approx(0.25)
    assert result.median.value == pytest.approx(0.3)
    assert result.mean.low < 0.38 < result.mean.high
    assert result.users_per_second == pytest.approx(50 / 19)
    assert (result.forward_share, result.scoring_share, result.topk_share) == pytest.approx((0.5, 0.25, 0.25))
    assert result.cpu_per_wall == pytest.approx(0.5)
    # The third request of a sample has two users, not four: it is left out.
    requests = [share * spent for spent in seconds for share in (0.5, 0.375)]
    assert [result.request_p50, result.request_p95, result.request_p99] == pytest.approx(
        numpy.percentile(requests, [50, 95, 99]).tolist()
    )


def test_power_is_joules_per_second_where_every_sample_has_them(row: MakeRow) -> None:
    """Three samples of 2, 4 and 6 seconds on the wall."""
    rows = [row(float(i), sample=i, package_joules=30.0 * i, gpu_joules=7.0 if i > 1 else None) for i in (1, 2, 3)]
    (result,) = results(rows, seed=0)
    assert result.package_watts == pytest.approx(180 / 12)
    assert result.gpu_watts is None


def test_without_outliers_both_means_are_the_same_numbers(row: MakeRow) -> None:
    rows = mark_outliers([row(spent, sample=i, order=i) for i, spent in enumerate([1.0, 2.0, 3.0, 4.0, 7.0])])
    (result,) = results(rows, seed=0)
    assert result.outliers == 0
    assert result.mean_without_outliers == result.mean


def test_outliers_are_found_within_their_group(row: MakeRow) -> None:
    slow = [row(100.0 + i, model="hydra4rec", sample=i, order=2 * i) for i in range(5)]
    fast = [row(1.0 + 0.1 * i, sample=i, order=2 * i + 1) for i in range(5)]
    marked = mark_outliers([*slow, *fast])
    assert not any(one.outlier for one in marked)
    assert [one.order for one in marked] == list(range(10))
    assert [one.model for one in results(marked, seed=0)] == ["hydra4rec", "sasrec"]


def curve(row: MakeRow, model: str, cost: Callable[[int], float]) -> list[TimedSample]:
    fields = {"kind": "length", "histories": "generated", "users": 1, "batch": 1}
    return [
        row(cost(L), model=model, length=L, sample=i, request_seconds=[cost(L)], **fields)
        for L in (10, 100, 1000)
        for i in range(5)
    ]


def test_curves_cross_where_the_powers_do(row: MakeRow) -> None:
    rows = [
        *curve(row, "sasrec", lambda L: L**2 / 300),
        *curve(row, "mamba4rec", float),  # equals sasrec at 300
        *curve(row, "lrurec", lambda L: L**2 / 400),
        *curve(row, "hydra4rec", lambda L: L**3 / 15_000),  # equals sasrec at 50
    ]
    found = {one.model: one for one in crossings(results(rows, seed=0))}
    assert set(found) == {"mamba4rec", "lrurec", "hydra4rec"}
    assert found["mamba4rec"].cheaper_from == pytest.approx((300,))
    assert (found["mamba4rec"].dearer_from, found["mamba4rec"].cheaper_at) == ((), (1000,))
    assert (found["lrurec"].cheaper_from, found["lrurec"].cheaper_at) == ((), (10, 100, 1000))
    assert found["hydra4rec"].dearer_from == pytest.approx((50,))
    assert found["hydra4rec"].cheaper_at == (10,)
    assert all(one.measured == (10, 100, 1000) for one in found.values())


def test_without_sasrec_nothing_crosses(row: MakeRow) -> None:
    assert crossings(results(curve(row, "mamba4rec", float), seed=0)) == ()


PROTOCOL = {"samples": 5, "users": 4, "outlier_rule": "Tukey's fences"}
MACHINE = {"device_name": "a CPU", "threads": 1, "kernels": {}, "idle": None, "others_cores": None}


def test_files_come_back_as_they_were_written(row: MakeRow, tmp_path: Path) -> None:
    rows = [
        *curve(row, "sasrec", lambda L: L**2 / 300),
        *curve(row, "mamba4rec", float),
        row(state_bytes=800, working_bytes=None, mode="step", load_average=0.5),
    ]
    write_samples(tmp_path / "latency.parquet", rows)
    assert read_samples(tmp_path / "latency.parquet") == rows
    earlier = pyarrow.parquet.read_table(tmp_path / "latency.parquet")
    earlier = earlier.drop_columns(["request_cpu_seconds", "package_joules", "gpu_joules"])
    pyarrow.parquet.write_table(earlier, tmp_path / "earlier.parquet")
    assert read_samples(tmp_path / "earlier.parquet") == rows
    found: tuple[LatencyResult, ...] = results(rows[:-1], seed=0)
    summary = LatencySummary("toy", "f" * 64, 12, 40, PROTOCOL, MACHINE, found, crossings(found))
    summary.write(tmp_path / "latency.json")
    assert LatencySummary.read(tmp_path / "latency.json") == summary
    assert asdict(summary)["crossings"][0]["cheaper_from"] == pytest.approx((300,))


def test_other_files_are_refused(tmp_path: Path) -> None:
    for name, text in (("list.json", "[]"), ("other.json", '{"rows": []}'), ("broken.json", "{")):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            LatencySummary.read(tmp_path / name)
        with pytest.raises(InputError, match="run measure_latency again"):
            read_samples(tmp_path / name)
    with pytest.raises(InputError, match="run measure_latency first"):
        read_samples(tmp_path / "none.parquet")

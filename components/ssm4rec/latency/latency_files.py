"""The files a measurement writes.

- ``latency.parquet``, a row per timed sample, the fields of :class:`TimedSample`; every number of the other file that
  is about time can be computed from it anew.
- ``latency.json``, the fields of :class:`LatencySummary`::

    {"dataset": "ml-100k", "fingerprint": "…", "items": 1349, "eligible_users": 943,
     "protocol": {"samples": 30, "users": 1500, "single_users": 1500, "batches": [256, 64, 1], "warm_up": 1,
                  "with_replacement": true, "lengths": [50, 200], "seed": 0, "top_k": 10, "interval": …,
                  "outlier_rule": "Tukey's fences: …"},
     "machine": {"device": "cpu", "device_name": …, "clock_mhz": 2445.4, "clock_mhz_after": 2445.4, "cores": 2,
                 "threads": 1, "kernels": {"selective_scan": …}, "torch": …, "timer": "time.perf_counter_ns",
                 "load_average": 0.1, "load_average_after": 1.0, "others_cores": 0.02, "idle": true,
                 "process_peak_bytes": 512000000, "seconds": 321.0},
     "results": [{"kind": "users", "model": "sasrec", …, "mean": {"value": 0.0012, "low": …, "high": …}, …}],
     "crossings": [{"model": "mamba4rec", …, "cheaper_from": [1034.2], "cheaper_at": [3000, 10000], …}]}

  ``idle`` is false when other processes used 0.1 cores or more on average: then read the figures with care. It is null
  where the system does not say. ``process_peak_bytes`` is the whole process, all models together.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow
import pyarrow.parquet

from ssm4rec.errors import InputError
from ssm4rec.files import read_json, whole_file, write_json
from ssm4rec.latency.intervals import Interval

Kind = Literal["users", "length"]
"""Samples of the data set's users, or of the sweep over the history's length."""
Mode = Literal["full", "step", "prefill"]
"""The whole history read anew, one more event from a kept state, or the whole history read into a state to be kept."""


@dataclass(frozen=True)
class TimedSample:
    """One timed sample of one model.

    Attributes:
        kind: ``users`` or ``length``.
        histories: ``data``, or ``generated`` for the sweep.
        length: L, of the sweep's histories; None: the users' own.
        weights: ``trained``, or ``random`` where the model had to be built for L and its tables do not fit.
        mode: ``full`` (forward over the history), ``step`` (one event from a state, which was made untimed) or, in the
            sweep, ``prefill`` (forward over the history, and the state after it).
        batch: users of a request; the last one of a sample may have fewer.
        sample: its number, from 0; the same users for every model, mode and batch.
        order: of all timed samples of the measurement, from 0.
        users: timed.
        mean_length: items that the model read of a history, mean over users.
        mean_padded_length: likewise with the padding, which fills a request's histories up to its longest one.
        forward_seconds, scoring_seconds, topk_seconds: of the sample: to hidden states; to scores of the whole catalog;
            to the best ten. Not timed: making the request on the device, fetching the answer.
        total_seconds: their sum.
        request_seconds: of each request of the sample.
        outlier: by the rule in latency.json, among the samples of the same model, mode, batch and length.
        weight_bytes: of the model's parameters and buffers.
        state_bytes: of one user's state (``step``).
        working_bytes: the most memory that a request took beyond what was there before; None on a CPU, which does not
            count it.
        wall_seconds, cpu_seconds: of the whole sample with what is not timed, of this process and its threads. With one
            thread on an idle machine they are equal.
        load_average: of the last minute, after the sample.
        device, precision, kernels, compiled, threads: as chosen; scores are float32 in every precision, and what is
            ``compiled`` is the forward of ``full`` alone.
    """

    kind: Kind
    histories: Literal["data", "generated"]
    length: int | None
    model: str
    profile: str
    seed: int
    weights: Literal["trained", "random"]
    mode: Mode
    batch: int
    sample: int
    order: int
    users: int
    mean_length: float
    mean_padded_length: float
    forward_seconds: float
    scoring_seconds: float
    topk_seconds: float
    total_seconds: float
    request_seconds: list[float]
    outlier: bool
    weight_bytes: int
    state_bytes: int | None
    working_bytes: int | None
    wall_seconds: float
    cpu_seconds: float
    load_average: float
    device: str
    precision: str
    kernels: str
    compiled: bool
    threads: int


@dataclass(frozen=True)
class LatencyResult:
    """The samples of one model, mode, batch and length taken together; times in seconds.

    Attributes:
        samples: that were timed, outliers too.
        outliers: of them.
        users: of a sample.
        mean: per user, over all samples.
        mean_without_outliers: per user; the interval knows that the outliers were found in the same samples.
        median: per user, over all samples.
        request_p50, request_p95, request_p99: of a request of ``batch`` users (those with fewer are left out): what
            each of its users waits.
        users_per_second: users through the sum of the times.
        forward_share, scoring_share, topk_share: of the time.
        cpu_per_wall: CPU seconds per second of wall clock; well below 1 on a CPU says that others took turns.
    """

    kind: Kind
    histories: str
    length: int | None
    model: str
    profile: str
    seed: int
    weights: str
    mode: Mode
    batch: int
    users: int
    samples: int
    outliers: int
    mean_length: float
    mean: Interval
    mean_without_outliers: Interval
    median: Interval
    request_p50: float
    request_p95: float
    request_p99: float
    users_per_second: float
    forward_share: float
    scoring_share: float
    topk_share: float
    weight_bytes: int
    state_bytes: int | None
    working_bytes: int | None
    cpu_per_wall: float


@dataclass(frozen=True)
class Crossing:
    """Where a model's cost curve crosses SASRec's of the same profile.

    Attributes:
        measured: the lengths L of the curves.
        cheaper_at: those of them at which the model's median is below SASRec's.
        cheaper_from: lengths at which it gets cheaper, interpolated between two measured ones along straight lines of
            log seconds over log L.
        dearer_from: likewise, at which it gets dearer again.
    """

    model: str
    profile: str
    seed: int
    mode: Mode
    histories: str
    measured: tuple[int, ...]
    cheaper_at: tuple[int, ...]
    cheaper_from: tuple[float, ...]
    dearer_from: tuple[float, ...]


@dataclass(frozen=True)
class LatencySummary:
    """Everything the report needs to know of one measurement: latency.json as an object."""

    dataset: str
    fingerprint: str
    items: int
    eligible_users: int
    protocol: dict[str, Any]
    machine: dict[str, Any]
    results: tuple[LatencyResult, ...]
    crossings: tuple[Crossing, ...]

    def write(self, path: Path) -> None:
        """Write latency.json."""
        write_json(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "LatencySummary":
        """Read latency.json; raise InputError if it is not one."""
        document = read_json(path)
        try:
            results = tuple(_result(row) for row in document.pop("results"))
            crossings = tuple(_crossing(row) for row in document.pop("crossings"))
            return cls(**document, results=results, crossings=crossings)
        except (AttributeError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: not the latency.json of a measurement ({error}); run measure_latency again"
            ) from None


_INTERVALS: Final = ("mean", "mean_without_outliers", "median")

_TYPES: Final = {
    str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_(),
    int | None: pyarrow.int64(), list[float]: pyarrow.list_(pyarrow.float64()),
}  # fmt: skip
_SCHEMA: Final = pyarrow.schema(
    [(name, _TYPES.get(kind, pyarrow.string())) for name, kind in TimedSample.__annotations__.items()]
)
"""Named types, so that a column without a value keeps its type; literals are strings."""


def write_samples(path: Path, rows: list[TimedSample]) -> None:
    """Write latency.parquet."""
    with whole_file(path) as partial:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([asdict(row) for row in rows], _SCHEMA), partial)


def read_samples(path: Path) -> list[TimedSample]:
    """Read latency.parquet; raise InputError if it is not one."""
    try:
        return [TimedSample(**row) for row in pyarrow.parquet.read_table(path).to_pylist()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run measure_latency first") from None
    except (pyarrow.ArrowInvalid, OSError, TypeError) as error:
        raise InputError(f"{path}: not the samples of a measurement ({error}); run measure_latency again") from None


def _crossing(row: dict[str, Any]) -> Crossing:
    return Crossing(**{**row, **{name: tuple(value) for name, value in row.items() if isinstance(value, list)}})


def _result(row: dict[str, Any]) -> LatencyResult:
    return LatencyResult(**{**row, **{name: Interval(**row[name]) for name in _INTERVALS}})

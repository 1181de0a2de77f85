"""The files a measurement writes: ``latency.parquet``, a row per timed sample, and ``latency.json``, what they say.

Every number of the second file that is about time can be computed from the first again.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import with_config
from typing_extensions import TypedDict

from ssm4rec.artifacts.codec import OPEN, Amount, Count, Document, Positive, Share, read_rows, shape, write_rows
from ssm4rec.artifacts.estimate import Estimate

Kind = Literal["users", "length", "cost"]
"""Samples of the data set's users, of the sweep over the history's length, or rounds that count the CPU's time."""
Mode = Literal["full", "step", "prefill"]
"""The whole history read again, one more event from a kept state, or the whole history read into a state to be kept."""


@dataclass(frozen=True)
class Timed:
    """What the timed samples of one result share.

    Attributes:
        histories: ``data``, or ``generated`` for the sweep.
        length: L, of the sweep's histories; None: the users' own.
        weights: ``trained``, or ``random`` where the model had to be built for L and its tables do not fit.
        mode: ``full`` (forward over the history), ``step`` (one event from a state, which was made untimed) or, in the
            sweep, ``prefill`` (forward over the history, and the state after it).
        batch: users of a request; the last one of a sample may have fewer.
    """

    kind: Kind
    histories: Literal["data", "generated"]
    length: Positive | None
    model: str
    profile: str
    seed: Count
    weights: Literal["trained", "random"]
    mode: Mode
    batch: Positive

    @property
    def group(self) -> tuple[Any, ...]:
        """The values of these fields: the same in a result and its samples."""
        return tuple(getattr(self, field.name) for field in fields(Timed))


@dataclass(frozen=True)
class TimedSample(Timed):
    """One timed sample of one model.

    Attributes:
        sample: its number, from 0; the same users for every model, mode and batch.
        order: of all timed samples of the measurement, from 0.
        mean_length: items that the model read of a history, mean over users.
        mean_padded_length: the same with the padding, which fills a request's histories up to its longest one.
        forward_seconds, scoring_seconds, topk_seconds: of the sample: to hidden states; to scores of the whole catalog;
            to the best ten. Not timed: making the request on the device, fetching the answer.
        outlier: by the rule in latency.json, among the samples of the same result.
        state_bytes: of one user's state (``step``).
        working_bytes: the most memory that a request took beyond what was there before; None on a CPU, which does not
            count it.
        wall_seconds, cpu_seconds: of the whole sample with what is not timed, of this process and its threads. With one
            thread on an idle machine they are equal.
        request_cpu_seconds: of the CPU, by this process and its threads, for the timed parts of each request; None in
            files of earlier versions.
        package_joules, gpu_joules: of the whole sample, of the whole machine's processor packages and the whole GPU, as
            ``runtime/energy.py`` counts them; None where they are not known.
        device, precision, kernels, compiled, threads: as chosen; scores are float32 in every precision, and what is
            ``compiled`` is the forward of ``full`` alone.
    """

    sample: Count
    order: Count
    users: Positive
    mean_length: Amount
    mean_padded_length: Amount
    forward_seconds: Amount
    scoring_seconds: Amount
    topk_seconds: Amount
    total_seconds: Amount
    request_seconds: list[Amount]
    outlier: bool
    weight_bytes: Count
    state_bytes: Count | None
    working_bytes: Count | None
    wall_seconds: Amount
    cpu_seconds: Amount
    load_average: Amount
    device: str
    precision: str
    kernels: str
    compiled: bool
    threads: Positive
    request_cpu_seconds: list[Amount] | None = None
    package_joules: Amount | None = None
    gpu_joules: Amount | None = None


@dataclass(frozen=True)
class LatencyResult(Timed):
    """The samples of one model, mode, batch and length taken together; times in seconds.

    Attributes:
        samples: that were timed, outliers too.
        mean, median: per user, over all samples.
        mean_without_outliers: per user; the interval knows that the outliers were found in the same samples.
            ``mean`` where there are none.
        request_p50, request_p95, request_p99: of a request of ``batch`` users (those with fewer are left out): what
            each of its users waits.
        forward_share, scoring_share, topk_share: of the time.
        cpu_per_wall: CPU seconds per second of wall clock; well below 1 on a CPU says that others took turns.
        cpu_seconds_per_user: of the timed parts with one thread: of each request the least over the rounds of kind
            ``cost``, which have no result of their own, added up; the interval is over requests, of a single one (n 1)
            both bounds are the value; None on a GPU, without rounds, and in files of earlier versions.
        package_watts, gpu_watts: mean power while the samples were answered; None where it is not known.
    """

    users: Positive
    samples: Count
    outliers: Count
    mean_length: Amount
    mean: Estimate
    mean_without_outliers: Estimate
    median: Estimate
    request_p50: Amount
    request_p95: Amount
    request_p99: Amount
    users_per_second: Amount
    forward_share: Share
    scoring_share: Share
    topk_share: Share
    weight_bytes: Count
    state_bytes: Count | None
    working_bytes: Count | None
    cpu_per_wall: Amount
    cpu_seconds_per_user: Estimate | None = None
    package_watts: Amount | None = None
    gpu_watts: Amount | None = None


@dataclass(frozen=True)
class Crossing:
    """Where a model's cost curve crosses SASRec's of the same profile.

    Attributes:
        measured: the lengths L of the curves.
        cheaper_at: those of them at which the model's median is below SASRec's.
        cheaper_from, dearer_from: lengths at which it gets cheaper, and dearer again, interpolated between two measured
            ones along straight lines of log seconds over log L.
    """

    model: str
    profile: str
    seed: Count
    mode: Mode
    histories: str
    measured: tuple[Positive, ...]
    cheaper_at: tuple[Positive, ...]
    cheaper_from: tuple[Amount, ...]
    dearer_from: tuple[Amount, ...]


@with_config(OPEN)
class _Protocol(TypedDict):
    """How was measured: the settings of ``protocol.py``, and the rules."""

    samples: Positive
    users: Positive
    outlier_rule: str
    lengths: NotRequired[list[Positive]]


@with_config(OPEN)
class _Machine(TypedDict):
    """What it was measured on; ``idle``: not when others used 0.1 cores or more on average, None: nobody can say."""

    device_name: str
    threads: Positive
    kernels: dict[str, str]
    idle: bool | None
    others_cores: Amount | None


@dataclass(frozen=True)
class LatencySummary(Document, what="the latency.json of a measurement", made_by="measure_latency"):
    """latency.json as an object; ``failure``: why nothing was measured and there are no results, "" where there are."""

    dataset: str
    fingerprint: str
    items: Positive
    eligible_users: Count
    protocol: Annotated[dict[str, Any], shape(_Protocol)]
    machine: Annotated[dict[str, Any], shape(_Machine)]
    results: tuple[LatencyResult, ...]
    crossings: tuple[Crossing, ...]
    failure: str = ""


def write_samples(path: Path, rows: list[TimedSample]) -> None:
    """Write latency.parquet."""
    write_rows(path, rows, TimedSample)


def read_samples(path: Path) -> list[TimedSample]:
    """Read latency.parquet; raise InputError if it is not one."""
    return read_rows(path, TimedSample, "the samples of a measurement", "measure_latency")

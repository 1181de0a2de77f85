"""From timed samples to what is reported of them: intervals, percentiles, crossing points."""

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, Final

import numpy

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.latency import Crossing, LatencyResult, Timed, TimedSample
from ssm4rec.latency.intervals import fenced_interval, mean_interval, median_interval, outliers, ratio_interval

COST: Final = "cost"
"""The kind of the rounds that count the CPU's time."""

COST_RESAMPLES: Final = 2000

BASELINE = "sasrec"
"""The model whose cost curve the others are held against."""


def grouped(rows: Sequence[TimedSample]) -> dict[tuple[Any, ...], list[TimedSample]]:
    """Return the rows by what they share, each group in the order of its samples."""
    groups: dict[tuple[Any, ...], list[TimedSample]] = {}
    for row in sorted(rows, key=lambda row: row.sample):
        groups.setdefault(row.group, []).append(row)
    return groups


def seconds_per_user(rows: Sequence[TimedSample]) -> numpy.ndarray[tuple[int], numpy.dtype[numpy.float64]]:
    """Return each sample's seconds per user, (samples,)."""
    return numpy.array([row.total_seconds / row.users for row in rows])


def mark_outliers(rows: Sequence[TimedSample]) -> list[TimedSample]:
    """Return the rows with ``outlier`` set within each group, in the order they were timed."""
    marked: list[TimedSample] = []
    for group in grouped(rows).values():
        flags = outliers(seconds_per_user(group)).tolist()
        marked += [replace(row, outlier=flag) for row, flag in zip(group, flags, strict=True)]
    return sorted(marked, key=lambda row: row.order)


def results(rows: Sequence[TimedSample], seed: int) -> tuple[LatencyResult, ...]:
    """Return a result per group of rows, whose outliers are marked; ``seed`` draws the resamples.

    They come in the order of kind (users first), length, histories, batch (largest first), mode and model.
    """
    rng = numpy.random.default_rng([seed, 3])

    def place(one: LatencyResult) -> tuple[Any, ...]:
        what = (one.kind != "users", one.length or 0, one.histories, -one.batch, one.mode)
        return (*what, one.model, one.profile, one.seed)

    groups = grouped(rows)
    rounds = {key[1:]: group for key, group in groups.items() if key[0] == COST}
    of_kind = {"users": rounds}  # the sweep over lengths has none
    found = [
        _result(group, of_kind.get(kind, {}).get(tuple(rest), []), rng)
        for (kind, *rest), group in groups.items()
        if kind != COST
    ]
    return tuple(sorted(found, key=place))


def _result(rows: list[TimedSample], rounds: list[TimedSample], rng: numpy.random.Generator) -> LatencyResult:
    first = rows[0]
    values = seconds_per_user(rows)
    total = sum(row.total_seconds for row in rows)
    count, mean = sum(row.outlier for row in rows), mean_interval(values, rng)
    requests = [row.request_seconds[: row.users // row.batch] for row in rows]
    p50, p95, p99 = numpy.percentile(numpy.concatenate(requests), [50, 95, 99]).tolist()
    return LatencyResult(
        **{field.name: getattr(first, field.name) for field in fields(Timed)},
        users=first.users,
        samples=len(rows),
        outliers=count,
        mean_length=float(numpy.mean([row.mean_length for row in rows])),
        mean=mean,
        mean_without_outliers=fenced_interval(values, rng) if count else mean,
        median=median_interval(values, rng),
        request_p50=p50,
        request_p95=p95,
        request_p99=p99,
        users_per_second=sum(row.users for row in rows) / total,
        forward_share=sum(row.forward_seconds for row in rows) / total,
        scoring_share=sum(row.scoring_seconds for row in rows) / total,
        topk_share=sum(row.topk_seconds for row in rows) / total,
        weight_bytes=first.weight_bytes,
        state_bytes=first.state_bytes,
        working_bytes=max((row.working_bytes for row in rows if row.working_bytes is not None), default=None),
        cpu_per_wall=sum(row.cpu_seconds for row in rows) / sum(row.wall_seconds for row in rows),
        cpu_seconds_per_user=_cpu_seconds_per_user(rounds, rng),
        package_watts=_watts([row.package_joules for row in rows], rows),
        gpu_watts=_watts([row.gpu_joules for row in rows], rows),
    )


def _cpu_seconds_per_user(rounds: list[TimedSample], rng: numpy.random.Generator) -> Estimate | None:
    """Return the least of each request over the rounds, added up, per user; resampled are requests.

    Of a single request, n = 1, both bounds are its value.
    """
    if len(rounds) < 2:
        return None
    batch, users = rounds[0].batch, rounds[0].users
    least = numpy.array([row.request_cpu_seconds for row in rounds]).min(axis=0)  # (requests,)
    if len(least) == 1:
        value = float(least[0]) / users
        return Estimate(value, value, value, 1)
    answered = numpy.full(len(least), float(batch))
    answered[-1] = users - batch * (len(least) - 1)
    return ratio_interval(least, answered, rng, COST_RESAMPLES)


def _watts(joules: Sequence[float | None], rows: Sequence[TimedSample]) -> float | None:
    known = [one for one in joules if one is not None]
    return sum(known) / sum(row.wall_seconds for row in rows) if len(known) == len(rows) else None


def crossings(found: Sequence[LatencyResult]) -> tuple[Crossing, ...]:
    """Return where each model's curve over L crosses SASRec's of the same profile, mode and histories."""
    curves: dict[tuple[str, str, int, str, str], list[LatencyResult]] = {}
    for result in sorted((one for one in found if one.kind == "length"), key=lambda one: one.length or 0):
        curves.setdefault((result.model, result.profile, result.seed, result.mode, result.histories), []).append(result)
    baselines = {
        (profile, mode, histories): curve
        for (model, profile, _, mode, histories), curve in reversed(curves.items())  # the first of several stays
        if model == BASELINE
    }
    crossed = []
    for (model, profile, seed, mode, histories), curve in curves.items():
        baseline = baselines.get((profile, mode, histories))
        if model == BASELINE or baseline is None:
            continue
        lengths = [result.length or 0 for result in curve]
        ratios = [ours.median.value / theirs.median.value for ours, theirs in zip(curve, baseline, strict=True)]
        cheaper_at = tuple(length for length, ratio in zip(lengths, ratios, strict=True) if ratio < 1)
        falls, rises = crossing_lengths(lengths, ratios)
        measured = tuple(lengths)
        crossed.append(Crossing(model, profile, seed, curve[0].mode, histories, measured, cheaper_at, falls, rises))
    return tuple(crossed)


def crossing_lengths(lengths: Sequence[int], ratios: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the lengths at which a ratio of costs falls below 1, and those at which it rises above.

    Between two lengths, log ratio is taken as linear in log L: exact where costs are powers of L.

    >>> falls, rises = crossing_lengths([1, 100], [10.0, 0.1])
    >>> [round(length, 6) for length in falls], rises
    ([10.0], ())
    """
    falls: list[float] = []
    rises: list[float] = []
    x, y = numpy.log(lengths), numpy.log(ratios)
    for (x0, y0), (x1, y1) in pairwise(zip(x, y, strict=True)):
        if (y0 < 0) != (y1 < 0):
            length = float(numpy.exp(x0 - y0 * (x1 - x0) / (y1 - y0)))
            (falls if y1 < 0 else rises).append(length)
    return tuple(falls), tuple(rises)

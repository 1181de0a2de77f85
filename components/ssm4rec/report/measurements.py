"""What a study measured, apart from its metrics: how sure its comparison of models is, and what an answer costs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy
import scipy.stats

from ssm4rec.artifacts.comparison import Comparison
from ssm4rec.artifacts.estimate import CONFIDENCE, Estimate
from ssm4rec.artifacts.latency import LatencyResult, LatencySummary, TimedSample, read_samples
from ssm4rec.artifacts.names import TIME_BASELINES, baselines_of
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.latency.intervals import RESAMPLES
from ssm4rec.latency.summary import COST, grouped, seconds_per_user
from ssm4rec.report.recommenders import check_data
from ssm4rec.runtime.errors import InputError

FULL: Final = "full"
STEP: Final = "step"
PREFILL: Final = "prefill"
MODE_NAMES: Final = {FULL: "whole history", PREFILL: "whole history, state kept", STEP: "one more event"}
GENERATED: Final = "generated"
HISTORY_NAMES: Final = {GENERATED: "generated histories", "data": "histories of users"}

_TOLERANCE: Final = 1e-9


@dataclass(frozen=True)
class Latency:
    """A measurement of latency, and the samples that it is of where they were given."""

    summary: LatencySummary
    samples: Sequence[TimedSample] = ()

    @property
    def batches(self) -> list[int]:
        """The sizes of requests, largest first."""
        return sorted({result.batch for result in self.of_users()}, reverse=True)

    def of_users(self) -> list[LatencyResult]:
        """Return the results on the users' own histories."""
        return [result for result in self.summary.results if result.kind == "users"]

    def of_model(self, model: str, batch: int) -> LatencyResult | None:
        """Return a model's result on the users' whole histories, of its first seed; None if it was not measured."""
        found = [one for one in self.of_users() if (one.model, one.batch, one.mode) == (model, batch, FULL)]
        return min(found, key=lambda one: one.seed, default=None)

    def of_lengths(self, mode: str, histories: str = GENERATED) -> dict[str, list[LatencyResult]]:
        """Return each model's results on histories of a given length, in the order of the lengths."""
        curves: dict[str, list[LatencyResult]] = {}
        for result in self.summary.results:
            if (result.kind, result.histories, result.mode) == ("length", histories, mode):
                curves.setdefault(result.model, []).append(result)
        return {model: sorted(curve, key=lambda one: one.length or 0) for model, curve in sorted(curves.items())}

    def times_as_fast(self, model: str, other: str, batch: int) -> Estimate | None:
        """Return how many times as long ``other`` takes per user as ``model``, with its 95% bootstrap interval.

        A ratio of means over the samples, which are resampled together: every sample has the same users for both.
        None if the samples of one of the two were not given.
        """
        first, second = (self._sample_times(name, batch) for name in (model, other))
        if first.keys() != second.keys() or len(first) < 2:
            return None
        ours, theirs = (numpy.array([times[sample] for sample in sorted(times)]) for times in (first, second))
        found = scipy.stats.bootstrap(
            (theirs, ours),
            lambda above, below, axis=-1: above.mean(axis) / below.mean(axis),
            paired=True,
            vectorized=True,
            confidence_level=CONFIDENCE,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=numpy.random.default_rng(0),
        ).confidence_interval
        return Estimate(float(theirs.mean() / ours.mean()), float(found.low), float(found.high), len(ours))

    def _sample_times(self, model: str, batch: int) -> dict[int, float]:
        """Return a model's seconds per user by the number of the sample, whole histories read again for each answer."""
        result = self.of_model(model, batch)
        rows = [row for row in self.samples if result and row.group == result.group]
        return {row.sample: row.total_seconds / row.users for row in rows}


def gather_comparison(
    manifest: dict[str, Any], trainings: set[tuple[str, int]], split: str, path: Path | None
) -> Comparison | None:
    """Read the comparison of a study's ``trainings``, every (model, seed); None where there is none.

    Raise InputError for one of another data set, another split or other models, or without a baseline.
    """
    if path is None:
        return None
    found = Comparison.read(path)
    check_data(f"{path}:", found.dataset, found.fingerprint, manifest)
    if found.split != split:
        raise InputError(f"{path}: compares on {found.split}, the study is about {split}; compare on that")
    compared = {(row.model, seed) for row in found.models if row.model not in TIME_BASELINES for seed in row.seeds}
    if compared != trainings:
        model, seed = min(compared ^ trainings)
        where = "not in the study" if (model, seed) in compared else "missing in it"
        raise InputError(f"{path}: {model} seed {seed} is {where}; compare the models that are reported")
    models = {row.model for row in found.models}
    if missing := [name for name in baselines_of(manifest["split"]["name"]) if name not in models]:
        raise InputError(f"{path}: has no {missing[0]}; run evaluate and compare_models again")
    return found


def gather_latency(
    manifest: dict[str, Any], trainings: set[tuple[str, int]], path: Path | None, samples: Path | None
) -> Latency | None:
    """Read the latency of a study's ``trainings``, every (model, seed); None where it was not measured, or failed.

    Raises:
        InputError: one of another data set, or of a model that the study has not; samples that the summary is not of.
    """
    if path is None:
        if samples:
            raise InputError(f"{samples}: samples without their summary; add latency.json (--latency)")
        return None
    summary = LatencySummary.read(path)
    check_data(f"{path}:", summary.dataset, summary.fingerprint, manifest)
    if summary.failure:
        return None
    for result in summary.results:
        if (result.model, result.seed) not in trainings:
            raise InputError(f"{path}: times {result.model} seed {result.seed}, which no evaluation is of; add it")
    rows = read_samples(samples) if samples else []
    if rows:
        timed = [row for row in rows if row.kind != COST]
        means = {key: float(seconds_per_user(group).mean()) for key, group in grouped(timed).items()}
        expected = {result.group: result.mean.value for result in summary.results}
        if means.keys() != expected.keys() or not all(
            math.isclose(mean, expected[key], rel_tol=_TOLERANCE) for key, mean in means.items()
        ):
            raise InputError(f"{samples}: not the samples that {path} is of; give both of one measurement")
    return Latency(summary, rows)


def gather_registration(
    manifest: dict[str, Any], trainings: set[tuple[str, int]], path: Path | None
) -> RegistrationFacts | None:
    """Read what became of the best of a study's ``trainings``, every (model, seed); None where that is not known.

    Raise InputError for one of another data set, or of a model that the study has not.
    """
    if path is None:
        return None
    found = RegistrationFacts.read(path)
    check_data(f"{path}:", found.dataset, found.fingerprint, manifest)
    if (found.model, found.seed) not in trainings:
        raise InputError(f"{path}: registers {found.model} seed {found.seed}, which no evaluation is of; add it")
    return found


def why_not_measured(path: Path | None) -> str:
    """Return why a study's measurement of latency has no results; "" where it has some, or there is none."""
    return LatencySummary.read(path).failure if path else ""

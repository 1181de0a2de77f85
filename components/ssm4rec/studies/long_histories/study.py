"""A long-history study: trainings with windows of several lengths, and what serving costs at several lengths."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.latency import Crossing, LatencyResult
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.ranks import Ranks
from ssm4rec.evaluation.windows import WindowComparison, check_ranks, compare_windows, label, window_of
from ssm4rec.latency.summary import BASELINE
from ssm4rec.report.measurements import GENERATED, STEP, Latency, gather_latency, why_not_measured
from ssm4rec.report.recommenders import RankedFiles, Recommenders, gather_recommenders, renamed
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Files(RankedFiles):
    """What a long-history study left."""

    latency: Path


@dataclass(frozen=True)
class LongHistoryStudy:
    """What the report tells of; ``gather_long_histories`` makes one."""

    recommenders: Recommenders
    """A model at one window is a model of its own, called by ``evaluation.windows.label``."""
    windows: WindowComparison
    latency: Latency
    """The sweep over the length of one user's history."""

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return str(self.recommenders.manifest["dataset"])

    def cpu_seconds(self, model: str, window: int) -> float:
        """Return the CPU-seconds of a training, the mean over its seeds."""
        own = [one for one in self.recommenders.trainings if one.model == label(model, window)]
        return sum(float(one.training["cpu_seconds"]) for one in own) / len(own)

    def states(self) -> dict[str, dict[int, int]]:
        """Return the bytes of one user's state after L items, by model and L."""
        return {
            model: {result.length or 0: result.state_bytes or 0 for result in curve}
            for model, curve in self.latency.of_lengths(STEP).items()
        }

    def crossings(self) -> list[Crossing]:
        """Return where curves on generated histories cross the baseline's, a model and a way of reading each."""
        return [one for one in self.latency.summary.crossings if one.histories == GENERATED]

    def results(self) -> list[dict[str, Any]]:
        """Return every number of the study, flat: results.json. What a kind of row lacks is missing in it."""
        dataset = {"dataset": self.dataset}
        evaluated: dict[tuple[str, int | None], EvaluationSummary] = {
            (one.model, one.seed): one for one in self.recommenders.trainings
        }
        quality = [
            {"kind": "quality"} | asdict(row) | _names(row.model, row.seed, evaluated)
            for row in self.recommenders.results()
        ]
        pairs = [
            {"kind": kind, **dataset, **asdict(pair)}
            for kind, found in (("to longest", self.windows.to_longest), ("to baseline", self.windows.to_baseline))
            for pair in found
        ]
        costs = [{"kind": "cost", **dataset, **_cost(result)} for result in self.latency.summary.results]
        crossed = [{"kind": "crossing", **dataset, **asdict(one)} for one in self.latency.summary.crossings]
        return [*quality, *pairs, *costs, *crossed]


def _names(
    labelled: str, seed: int | None, evaluated: dict[tuple[str, int | None], EvaluationSummary]
) -> dict[str, Any]:
    evaluation = evaluated.get((labelled, seed))
    if evaluation is None:
        return {"model": labelled, "window": None}
    window = window_of(evaluation)
    return {"model": labelled.removesuffix(label("", window)), "window": window}


def _cost(result: LatencyResult) -> dict[str, Any]:
    names = ("model", "seed", "mode", "histories", "length", "samples", "weights")
    median = {"median_seconds": result.median.value, "low": result.median.low, "high": result.median.high}
    return {name: getattr(result, name) for name in names} | median | {"state_bytes": result.state_bytes}


def read_study(files: Files) -> LongHistoryStudy:
    """Read the files; raise InputError as ``gather_long_histories`` does, or if latency could not be measured."""
    manifest, dataset = read_manifest(files.dataset_dir), read_sequences(files.dataset_dir)
    evaluated = files.read(dataset)
    trainings = {(evaluation.model, evaluation.seed) for evaluation, _ in evaluated}
    latency = gather_latency(manifest, trainings, files.latency, None)
    if latency is None:
        raise InputError(f"--latency {files.latency}: {why_not_measured(files.latency)}; measure it (measure_latency)")
    return gather_long_histories(manifest, dataset, evaluated, latency, files.resamples)


def gather_long_histories(
    manifest: dict[str, Any],
    dataset: SequenceDataset,
    evaluated: Sequence[tuple[EvaluationSummary, Ranks]],
    latency: Latency,
    resamples: int,
) -> LongHistoryStudy:
    """Check that everything belongs together, compare windows, and return the study.

    Raise InputError for files that do not belong together, no two windows of any model, or no sweep.
    """
    for evaluation, ranks in evaluated:
        check_ranks(evaluation, ranks)
    labelled = [renamed(evaluation, label(evaluation.model, window_of(evaluation))) for evaluation, _ in evaluated]
    recommenders = gather_recommenders(manifest, labelled, [])
    if not any(result.kind == "length" for result in latency.summary.results):
        raise InputError("the measurement of latency holds no lengths; run measure_latency with --lengths")
    if not latency.summary.protocol.get("lengths"):
        raise InputError("the measurement of latency does not say its lengths; run measure_latency again")
    models = [(evaluation.model, window_of(evaluation), ranks) for evaluation, ranks in evaluated]
    return LongHistoryStudy(recommenders, compare_windows(dataset, models, BASELINE, resamples, seed=0), latency)

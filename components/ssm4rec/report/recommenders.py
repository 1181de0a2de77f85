"""A data set, the evaluations of the recommenders trained on it, and their learning curves, found consistent."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from ssm4rec.artifacts.curve import Curve
from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.evaluations import EvaluationSummary, ResultRow
from ssm4rec.artifacts.names import CUTOFFS, METRICS, PROTOCOLS, SPLITS, baselines_of, metric_name
from ssm4rec.artifacts.ranks import Ranks, read_ranks
from ssm4rec.report.markdown import plural
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True)
class Recommenders:
    """Recommenders trained and evaluated on one data set; ``gather_recommenders`` makes one.

    Evaluations are sorted by model, seed and split; every (model, seed) is evaluated on the same splits. ``curves`` has
    the learning curve of a (model, seed), where it was given.
    """

    manifest: dict[str, Any]
    evaluations: tuple[EvaluationSummary, ...]
    curves: dict[tuple[str, int], Curve]

    @property
    def splits(self) -> list[str]:
        """The evaluated splits, test first."""
        evaluated = {evaluation.split for evaluation in self.evaluations}
        return [split for split in reversed(SPLITS) if split in evaluated]

    @property
    def splitting(self) -> str:
        """How the data are split, leave-one-out or global-time."""
        return str(self.manifest["split"]["name"])

    @property
    def baselines(self) -> tuple[str, ...]:
        """The baselines that the models were evaluated with."""
        return baselines_of(self.splitting)

    @property
    def split(self) -> str:
        """The split that the headline and the comparison with the paper are about: test, where it was evaluated."""
        return self.splits[0]

    @property
    def trainings(self) -> list[EvaluationSummary]:
        """One evaluation of every (model, seed)."""
        return [evaluation for evaluation in self.evaluations if evaluation.split == self.split]

    @property
    def models(self) -> dict[str, EvaluationSummary]:
        """The models in alphabetical order, each with the evaluation of one seed: seeds share their settings."""
        return {evaluation.model: evaluation for evaluation in self.trainings}

    def seeds(self, model: str) -> list[int]:
        """Return the seeds that a model was trained with; none for a model that was not."""
        return [evaluation.seed for evaluation in self.trainings if evaluation.model == model]

    def values(self, model: str, split: str, protocol: str, metric: str) -> list[float]:
        """Return a metric of a model, a value a seed; a single value for a baseline."""
        return [
            row.value
            for row in self.results()
            if (row.model, row.split, row.protocol, row.metric) == (model, split, protocol, metric)
        ]

    def results(self) -> list[ResultRow]:
        """Return every number of a full ranking once, sorted; the baselines' are the same in all evaluations."""
        rows = {
            (row.dataset, row.model, -1 if row.seed is None else row.seed, row.split, row.protocol, row.metric): row
            for evaluation in self.evaluations
            for row in evaluation.rows
        }
        return [rows[key] for key in sorted(rows)]


def gather_recommenders(
    manifest: dict[str, Any], evaluations: Iterable[EvaluationSummary], curves: Iterable[Curve]
) -> Recommenders:
    """Check that the files belong together and return what they are of.

    Raises:
        InputError: no evaluation; a file of another data set; a (model, seed, split) twice; a model whose seeds
            differ in recipe or profile; a (model, seed) that misses a split the others have; a metric that is missing;
            baselines that disagree; a learning curve of a training nobody evaluated, or two of the same.
    """
    ordered = tuple(sorted(evaluations, key=lambda summary: (summary.model, summary.seed, summary.split)))
    if not ordered:
        raise InputError("no evaluation was given: there is nothing to report; run evaluate first")
    for evaluation in ordered:
        what = f"the evaluation of {_name(evaluation)} is"
        check_data(what, evaluation.dataset, evaluation.fingerprint, manifest)
    _check_trainings(ordered)
    _check_rows(ordered, baselines_of(manifest["split"]["name"]))
    return Recommenders(manifest, ordered, _by_training(curves, ordered))


@dataclass(frozen=True, kw_only=True)
class RankedFiles:
    """Evaluations of one data set with their ranks, in the same order; ``resamples`` of the comparison of users."""

    dataset_dir: Path
    evaluations: Sequence[Path]
    ranks: Sequence[Path]
    resamples: int

    def read(self, dataset: SequenceDataset) -> list[tuple[EvaluationSummary, Ranks]]:
        """Read them.

        Raise InputError if there are not as many of the one as of the other, or a file is not of an evaluation of
        ``dataset``.
        """
        if len(self.evaluations) != len(self.ranks):
            number = plural(len(self.ranks), "file")
            raise InputError(f"--ranks: {number} for {len(self.evaluations)} of --evaluations; give one for each")
        both = zip(self.evaluations, self.ranks, strict=True)
        return [(EvaluationSummary.read(summary), read_ranks(path, dataset)) for summary, path in both]


def renamed(evaluation: EvaluationSummary, name: str) -> EvaluationSummary:
    """Return an evaluation whose model is called otherwise: where a study has a model several times."""
    rows = tuple(replace(row, model=name) if row.model == evaluation.model else row for row in evaluation.rows)
    return replace(evaluation, model=name, rows=rows)


def _name(evaluation: EvaluationSummary) -> str:
    return f"{evaluation.model} seed {evaluation.seed}"


def check_data(what: str, dataset: str, fingerprint: str, manifest: dict[str, Any]) -> None:
    """Raise InputError, which begins with ``what`` the file is, if it is of another data set than the manifest."""
    if (dataset, fingerprint) != (manifest["dataset"], manifest["fingerprint"]):
        raise InputError(
            f"{what} on {dataset} (fingerprint {fingerprint[:12]}), the data set given is {manifest['dataset']} "
            f"(fingerprint {manifest['fingerprint'][:12]}); report on one data set at a time"
        )


def _check_trainings(evaluations: Sequence[EvaluationSummary]) -> None:
    seen: set[tuple[str, int, str]] = set()
    first: dict[str, EvaluationSummary] = {}
    for evaluation in evaluations:
        key = (evaluation.model, evaluation.seed, evaluation.split)
        if key in seen:
            raise InputError(f"two evaluations of {_name(evaluation)} on {evaluation.split}; give each one once")
        seen.add(key)
        if "device" not in evaluation.training:  # an earlier version's
            raise InputError(f"the evaluation of {_name(evaluation)} has no 'device'; run evaluate again")
        other = first.setdefault(evaluation.model, evaluation)
        if (other.profile, other.recipe) != (evaluation.profile, evaluation.recipe):
            raise InputError(
                f"{_name(other)} and seed {evaluation.seed} were trained with different settings (profiles "
                f"{other.profile} and {evaluation.profile}); a mean over seeds needs the same ones"
            )
    splits = {split for _, _, split in seen}
    for evaluation in evaluations:
        for split in sorted(splits):
            if (evaluation.model, evaluation.seed, split) not in seen:
                raise InputError(f"no evaluation of {_name(evaluation)} on {split}, which the others have; add it")


def _check_rows(evaluations: Sequence[EvaluationSummary], names: Sequence[str]) -> None:
    metrics = [metric_name(metric, cutoff) for metric in METRICS for cutoff in CUTOFFS]
    baselines: dict[tuple[str, str, str, str], float] = {}
    for evaluation in evaluations:
        found = {(row.model, row.seed, row.split, row.protocol, row.metric): row.value for row in evaluation.rows}
        models = [(evaluation.model, evaluation.seed), *((name, None) for name in names)]
        for protocol, metric, (model, seed) in product(PROTOCOLS, metrics, models):
            value = found.get((model, seed, evaluation.split, protocol, metric))
            if value is None:
                raise InputError(
                    f"the evaluation of {_name(evaluation)} has no {metric} of {model} with the history {protocol}; "
                    "run evaluate again"
                )
            if seed is not None:
                continue
            other = baselines.setdefault((model, evaluation.split, protocol, metric), value)
            # Sums in another order, on another machine, may differ in the last digits.
            if not math.isclose(value, other, rel_tol=1e-9):
                raise InputError(
                    f"{model} has {metric} {value} ({protocol}) in the evaluation of {_name(evaluation)} but {other} "
                    "in another; the same data must give the same, run evaluate again"
                )


def _by_training(curves: Iterable[Curve], evaluations: Sequence[EvaluationSummary]) -> dict[tuple[str, int], Curve]:
    evaluated = {(evaluation.dataset, evaluation.model, evaluation.seed) for evaluation in evaluations}
    by_training: dict[tuple[str, int], Curve] = {}
    for curve in curves:
        dataset, model, seed = curve.training.dataset, curve.training.model, curve.training.seed
        if (dataset, model, seed) not in evaluated:
            raise InputError(
                f"a learning curve of {model} seed {seed} on {dataset}, which no evaluation is of; leave it out"
            )
        if (model, seed) in by_training:
            raise InputError(f"two learning curves of {model} seed {seed}; give each one once")
        by_training[model, seed] = curve
    return dict(sorted(by_training.items()))

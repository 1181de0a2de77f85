"""A comparative study: its recommenders, and what else was made of them, read from its files."""

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy

from ssm4rec.artifacts.comparison import Comparison
from ssm4rec.artifacts.curve import read_curve
from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.evaluations import EvaluationSummary, NumberRow
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import GLOBAL_TIME, LEAVE_ONE_OUT
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.data.splitting import later_training_shares
from ssm4rec.report.comparison_sections import model_row
from ssm4rec.report.costs import cost_rows
from ssm4rec.report.language_model_files import RankerFiles, gather_language_models
from ssm4rec.report.language_models import LanguageModels
from ssm4rec.report.measurements import (
    Latency,
    gather_comparison,
    gather_latency,
    gather_registration,
    why_not_measured,
)
from ssm4rec.report.recommenders import Recommenders, gather_recommenders
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Files(RankerFiles):
    """What a comparative study left; all but the data and the evaluations may be missing."""

    dataset_dir: Path
    evaluations: Sequence[Path]
    curves: Sequence[Path] = ()
    generations: Sequence[Path] = ()
    comparison: Path | None = None
    latency: Path | None = None
    latency_samples: Path | None = None
    global_time_dataset: Path | None = None
    global_time_evaluations: Sequence[Path] = ()
    global_time_comparison: Path | None = None
    registration: Path | None = None


@dataclass(frozen=True)
class Study(Recommenders):
    """What the report tells of: recommenders, and what else was made of them.

    ``latency_failure``: why latency could not be measured; "" where it was, or nobody tried. ``global_time``: some of
    the models on the same data split by time for all users. ``registration``: what became of the best by validation.
    ``about_rankers``: an alignment study, whose recommender is the rankers' retriever: nothing is offered for serving.
    """

    language_models: LanguageModels = field(default_factory=LanguageModels)
    comparison: Comparison | None = None
    latency: Latency | None = None
    latency_failure: str = ""
    global_time: "GlobalTime | None" = None
    registration: RegistrationFacts | None = None
    about_rankers: bool = False

    @property
    def smoke(self) -> bool:
        """Whether a model was trained with profile smoke, for seconds: then nothing is judged."""
        return any(summary.profile == "smoke" for summary in self.models.values())

    def estimate(self, name: str, protocol: str, metric: str) -> Estimate:
        """Return a model's metric with its interval over users, which is the value alone where there is none."""
        if self.comparison:
            return model_row(self.comparison, name, protocol, metric).mean
        values = self.values(name, self.split, protocol, metric)
        mean = statistics.mean(values)
        return Estimate(mean, mean, mean, len(values))

    def results_document(self) -> list[dict[str, Any]]:
        """Return the content of results.json.

        Full rankings, then language models under protocols of their own, what is recommended, and costs; then the
        second split's full rankings, what is recommended, and costs.
        """
        own = (*self.results(), *self.language_models.results(), *self._further_rows())
        second = self.global_time.study if self.global_time else None
        again = (*second.results(), *second._further_rows()) if second else ()
        return [
            {**asdict(row), "splitting": splitting}
            for rows, splitting in ((own, self.splitting), (again, GLOBAL_TIME))
            for row in rows
        ]

    def _further_rows(self) -> Iterator[NumberRow]:
        """Yield what is recommended, and what trainings and answers cost."""
        for row in self.comparison.recommendations if self.comparison else ():
            whose = (self.manifest["dataset"], row.model, row.seed, self.split, row.protocol)
            for name, value in row.numbers().items():
                yield NumberRow(*whose, name, value)
        yield from cost_rows(self, self.latency)


@dataclass(frozen=True)
class GlobalTime:
    """The second split beside a study's own, whose numbers are never mixed; ``gather_global_time`` makes one.

    ``users_with_later``: share of the first split's test users who have training events later than their target;
    ``later_events``: of the median of these users, the share of all training events that are later.
    """

    study: Study
    users_with_later: float
    later_events: float


def study_of(recommenders: Recommenders, **parts: Any) -> Study:
    """Return recommenders with what else was made of them."""
    return Study(recommenders.manifest, recommenders.evaluations, recommenders.curves, **parts)


def read_study(files: Files) -> Study:
    """Read the files; raise InputError if one cannot be read, or they do not belong together."""
    manifest = read_manifest(files.dataset_dir)
    curves = [read_curve(path, "train_recommender") for path in files.curves]
    found = gather_recommenders(manifest, map(EvaluationSummary.read, files.evaluations), curves)
    trainings = {(evaluation.model, evaluation.seed) for evaluation in found.trainings}
    return study_of(
        found,
        language_models=gather_language_models(manifest, files, files.generations),
        comparison=gather_comparison(manifest, trainings, found.split, files.comparison),
        latency=gather_latency(manifest, trainings, files.latency, files.latency_samples),
        latency_failure=why_not_measured(files.latency),
        global_time=gather_global_time(files),
        registration=gather_registration(manifest, trainings, files.registration),
    )


def gather_global_time(files: Files) -> GlobalTime | None:
    """Read the second split's part of a study; None where there is none, or the study's own split is global-time.

    Raises:
        InputError: evaluations without their data; data of another name or split; files that do not belong together.
    """
    own = read_manifest(files.dataset_dir)
    if not files.global_time_evaluations or own["split"]["name"] != LEAVE_ONE_OUT:
        return None
    if files.global_time_dataset is None:
        raise InputError("--global-time-dataset: none; give the one of --global-time-evaluations")
    manifest = read_manifest(files.global_time_dataset)
    if (manifest["dataset"], manifest["split"]["name"]) != (own["dataset"], GLOBAL_TIME):
        raise InputError(
            f"--global-time-dataset {files.global_time_dataset}: {manifest['dataset']}, {manifest['split']['name']}; "
            f"give {own['dataset']} prepared with --splitting {GLOBAL_TIME}"
        )
    found = gather_recommenders(manifest, map(EvaluationSummary.read, files.global_time_evaluations), [])
    trainings = {(evaluation.model, evaluation.seed) for evaluation in found.trainings}
    shares = later_training_shares(files.dataset_dir)
    later = shares[shares > 0]
    return GlobalTime(
        study_of(found, comparison=gather_comparison(manifest, trainings, found.split, files.global_time_comparison)),
        users_with_later=len(later) / max(1, len(shares)),
        later_events=float(numpy.median(later)) if len(later) else 0.0,
    )

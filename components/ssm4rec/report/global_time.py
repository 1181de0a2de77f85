"""Some of a study's models on the same data, split by time for all users in place of leave-one-out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy

from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import GLOBAL_TIME, LEAVE_ONE_OUT
from ssm4rec.data.later_events import later_training_shares
from ssm4rec.report.measurements import gather_comparison
from ssm4rec.report.study import Study, gather_study
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True)
class GlobalTime:
    """The second split beside a study's own; ``gather_global_time`` makes one.

    Attributes:
        study: the models trained and evaluated on it; their numbers are never mixed with the first split's.
        users_with_later: share of the first split's test users who have training events later than their target.
        later_events: of the median of these users, the share of all training events that are later.
    """

    study: Study
    users_with_later: float
    later_events: float


def gather_global_time(
    folder: Path, dataset: Path | None, evaluations: Sequence[Path], comparison: Path | None
) -> GlobalTime | None:
    """Read the second split's part of a study; None where there is none.

    None, too, where the study's own split is global-time: then there is nothing to set against it.

    Args:
        folder: the study's own dataset folder.
        dataset: the dataset folder of the second split.
        evaluations: metrics.json of each model on it; empty where the study goes without.
        comparison: comparison.json of these.

    Raises:
        InputError: evaluations without their data; data of another name or split; files that do not belong together.
    """
    own = read_manifest(folder)
    if not evaluations or own["split"]["name"] != LEAVE_ONE_OUT:
        return None
    if dataset is None:
        raise InputError("--global-time-dataset: none; give the one of --global-time-evaluations")
    manifest = read_manifest(dataset)
    if (manifest["dataset"], manifest["split"]["name"]) != (own["dataset"], GLOBAL_TIME):
        raise InputError(
            f"--global-time-dataset {dataset}: {manifest['dataset']}, {manifest['split']['name']}; give "
            f"{own['dataset']} prepared with --split {GLOBAL_TIME}"
        )
    study = gather_study(manifest, map(EvaluationSummary.read, evaluations), [])
    trainings = {(evaluation.model, evaluation.seed) for evaluation in study.trainings}
    shares = later_training_shares(folder)
    later = shares[shares > 0]
    return GlobalTime(
        replace(study, comparison=gather_comparison(manifest, trainings, study.split, comparison)),
        users_with_later=len(later) / max(1, len(shares)),
        later_events=float(numpy.median(later)) if len(later) else 0.0,
    )

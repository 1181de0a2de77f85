"""A tiny study made by hand: what each test changes of it stands in the test."""

from typing import Any

import pytest

from ssm4rec.artifacts.curve import Curve
from ssm4rec.artifacts.evaluations import EvaluationSummary, ResultRow
from ssm4rec.artifacts.names import (
    BASELINES,
    CUTOFFS,
    METRICS,
    MOST_POPULAR,
    MOST_POPULAR_LATELY,
    PROTOCOLS,
    metric_name,
)
from ssm4rec.report.recommenders import gather_recommenders
from ssm4rec.studies.comparative.study import Study, study_of
from ssm4rec.training.epochs import learning_curve
from tests.epoch_rows import epoch_row

BASELINE_VALUES = dict(zip(BASELINES, ((0.03, 0.04), (0.006, 0.036), (0.005, 0.035), (0.008, 0.038)), strict=True))
"""Every metric of each baseline, unmasked and masked."""
LATELY_VALUES = {MOST_POPULAR_LATELY: (0.02, 0.03)}


class StudyBuilder:
    """Makes the parts of a study; a part's numbers differ by protocol, so that a mix-up shows."""

    def __init__(self, dataset: str = "ml-1m") -> None:
        self.dataset = dataset

    def manifest(self, **changes: Any) -> dict[str, Any]:
        before = {"users": 6040, "items": 3706, "interactions": 1000209}
        after = {"users": 6040, "items": 3416, "interactions": 999611}
        source = {"address": "file:///data/a.zip", "file": "a.zip", "bytes": 5917549, "md5": "c4d9", "sha256": "ff"}
        return {
            "dataset": self.dataset,
            "fingerprint": "0123456789abcdef",
            "sources": [source | {"checksum": "unknown"}],
            "settings": {"k_core": 5, "deduplicate": "none"},
            "filters": [{"filter": "k_core", "setting": 5, "before": before, "after": after}],
            "counts": after,
            "recbole_counts": {"users": 6041, "items": 3417, "interactions": 999611},
            "split": {"name": "leave-one-out", "training_interactions": 987531},
            "event_order": {
                "name": "recbole",
                "neighbours_that_tie": 0.7,
                "pairs_in_one_order": 0.9,
                "targets_in_ties": 0.05,
                "targets_that_repeat": 0.0,
            },
            "sequence_length": {"mean": 165.5, "median": 96, "maximum": 2314},
        } | changes

    def evaluation(
        self, model: str = "sasrec", seed: int = 0, value: float = 0.25, **changes: Any
    ) -> EvaluationSummary:
        """Every metric of the model is ``value`` unmasked and ``value`` + 0.1 masked; the baselines' are above.

        Changes: ``baseline`` is for the values of most-popular, ``by_time`` adds the baseline of data split by time.
        """
        split = changes.get("split", "test")
        baselines = BASELINE_VALUES | {MOST_POPULAR: changes.pop("baseline", BASELINE_VALUES[MOST_POPULAR])}
        if changes.pop("by_time", False):
            baselines |= LATELY_VALUES
        rows = tuple(
            ResultRow(self.dataset, name, its_seed, split, protocol, metric_name(metric, cutoff), number)
            for name, its_seed, numbers in (
                (model, seed, (value, value + 0.1)),
                *((name, None, numbers) for name, numbers in baselines.items()),
            )
            for protocol, number in zip(PROTOCOLS, numbers, strict=True)
            for metric in METRICS
            for cutoff in CUTOFFS
        )
        fields: dict[str, Any] = {
            "dataset": self.dataset,
            "fingerprint": "0123456789abcdef",
            "model": model,
            "seed": seed,
            "profile": "best",
            "split": split,
            "users": 6040,
            "targets": 6040,
            "items": 3416,
            "parameters": 318592,
            "parameters_without_embeddings": 99968,
            "training": {
                "epochs": 20,
                "best_epoch": 10,
                "stopped": "patience",
                "validation_ndcg@10": 0.1234,
                "cpu_seconds": 1640.25,
                "device": "cpu",
            },
            "recipe": {"model": {"d_model": 64}, "training": {"learning_rate": 0.001, "betas": [0.9, 0.98]}},
            "rows": rows,
        }
        return EvaluationSummary(**(fields | changes))

    def curve(self, model: str = "sasrec", seed: int = 0, epochs: int = 3) -> Curve:
        rows = [
            epoch_row(
                epoch,
                dataset=self.dataset,
                model=model,
                seed=seed,
                train_loss=8.0 / epoch,
                validation_ndcg_10=0.1 * epoch,
            )
            for epoch in range(1, epochs + 1)
        ]
        return learning_curve(rows)

    def study(self, *evaluations: EvaluationSummary, **manifest_changes: Any) -> Study:
        return study_of(gather_recommenders(self.manifest(**manifest_changes), evaluations, []))


@pytest.fixture
def builder() -> StudyBuilder:
    return StudyBuilder()


@pytest.fixture
def builder_of() -> type[StudyBuilder]:
    return StudyBuilder

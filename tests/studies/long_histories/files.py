"""A long-history study made by hand: ranks, evaluations that are theirs, and costs that are powers of the length."""

from pathlib import Path
from typing import Any

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.evaluations import EvaluationSummary, ResultRow
from ssm4rec.artifacts.latency import TimedSample
from ssm4rec.artifacts.names import PROTOCOLS
from ssm4rec.artifacts.ranks import FullRanking, Origin, Ranks, write_ranks
from ssm4rec.evaluation.metrics import all_metrics
from ssm4rec.latency.summary import mark_outliers
from ssm4rec.report.measurements import Latency
from ssm4rec.studies.long_histories.study import LongHistoryStudy, gather_long_histories
from tests.evaluation.test_windows import ranks_of
from tests.report.measured_study import latency_summary, timed
from tests.report.trained import StudyBuilder

RANKS = {
    "sasrec": {5: 3, 20: 1},
    "mamba4rec": {5: 40, 20: 1},
    "lrurec": {5: 1, 20: 1},
}
"""Of the users with long histories, by model and window; the others' is 1."""

LENGTHS = (100, 10_000)

COSTS = {
    ("sasrec", "full"): lambda length: 1e-8 * length**2,
    ("mamba4rec", "full"): lambda length: 1e-5 * length,  # as long at 1,000 items, a thousand times 1e-5
    ("lrurec", "full"): lambda length: 2e-8 * length**2,
    ("sasrec", "step"): lambda length: 1e-6 * length,
    ("mamba4rec", "step"): lambda length: 2e-4,  # as long at 200 items
    ("lrurec", "step"): lambda length: 1e-5,
}
"""Seconds of one user, by model and mode."""

STATES = {"sasrec": lambda length: 1024 * length, "mamba4rec": lambda length: 18_432, "lrurec": lambda length: 2048}


def evaluation(ranks: Ranks, window: int, **changes: Any) -> EvaluationSummary:
    """Return the evaluation that these ranks are of."""
    found = {(ranks.model, ranks.seed): (ranks.unmasked, ranks.masked)}
    found |= {(name, None): both for name, both in ranks.baselines.items()}
    rows = tuple(
        ResultRow("ml-1m", model, seed, ranks.split, protocol, metric, value)
        for (model, seed), both in found.items()
        for protocol, of_model in zip(PROTOCOLS, both, strict=True)
        for metric, value in all_metrics(of_model).items()
    )
    recipe = {
        "model": {"max_length": window, "d_model": 64},
        "training": {"learning_rate": 0.001, "epochs": 12, "crops": "all"},
    }
    own: dict[str, Any] = {"model": ranks.model, "seed": ranks.seed, "rows": rows, "recipe": recipe}
    fields = own | {"users": 40, "targets": 40}
    return StudyBuilder().evaluation(**(fields | changes))


def write_ranks_file(path: Path, dataset: SequenceDataset, ranks: Ranks) -> None:
    """Write ranks.parquet of ranks made by hand, one target per user."""
    nobody = dataset.items[:0].reshape(0, 0)
    first = ranks.users >= 0
    lists = (nobody, nobody.astype("float32"), nobody)
    own, *others = (
        FullRanking(ranks.users, ranks.targets, ranks.history_lengths, *both, first, *lists)
        for both in ((ranks.unmasked, ranks.masked), *ranks.baselines.values())
    )
    baselines = dict(zip(ranks.baselines, others, strict=True))
    write_ranks(path, Origin(dataset, ranks.model, ranks.seed, ranks.split), own, baselines)


def sweep() -> list[TimedSample]:
    """Five samples of every model, way of reading and length."""
    rows = [
        timed(
            cost(length) * (1 + 0.01 * number), number, model=model, mode=mode, batch=1, kind="length", length=length,
            histories="generated", weights="random" if model == "sasrec" else "trained",
            state_bytes=STATES[model](length) if mode == "step" else None,
        )
        for (model, mode), cost in COSTS.items()
        for length in LENGTHS
        for number in range(5)
    ]  # fmt: skip
    rows += [timed(5e-3, number, batch=1, kind="length", length=100, histories="data") for number in range(5)]
    return mark_outliers(rows)


def latency() -> Latency:
    """Return the sweep's summary."""
    protocol = {"samples": 5, "users": 1, "outlier_rule": "Tukey's fences", "lengths": list(LENGTHS)}
    return Latency(latency_summary(sweep(), protocol=protocol))


def long_history_study(dataset: SequenceDataset, **changes: Any) -> LongHistoryStudy:
    """Return the study of all ranks above; ``changes`` are to every evaluation."""
    evaluated = [
        (evaluation(ranks, window, **changes), ranks)
        for model, by_window in RANKS.items()
        for window, rank in by_window.items()
        for ranks in [ranks_of(dataset, model, rank)]
    ]
    return gather_long_histories(StudyBuilder().manifest(), dataset, evaluated, latency(), resamples=2000)

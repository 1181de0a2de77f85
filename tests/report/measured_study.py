"""A comparison and a measurement of latency made by hand, for the models of a study."""

from itertools import combinations
from pathlib import Path
from typing import Any

from ssm4rec.artifacts.comparison import Comparison, ModelRow, PairRow, RecommendationsRow, SliceRow
from ssm4rec.artifacts.estimate import Difference, Estimate
from ssm4rec.artifacts.latency import LatencySummary, TimedSample, write_samples
from ssm4rec.artifacts.names import BASELINES
from ssm4rec.latency.summary import crossings, mark_outliers, results

MEANS = {"sasrec": 0.10, "mamba4rec": 0.12, "hydra4rec": 0.11, "most-popular": 0.02}
UNTESTED = {"most-recent": 0.004, "most-frequent": 0.003, "markov": 0.005}
"""Baselines without pairs."""
SECONDS = {"sasrec": 8e-3, "mamba4rec": 4e-3, "hydra4rec": 1e-3}
"""Of a user, at 10 users a request; ten times as many alone."""


def comparison(dataset: str = "ml-1m", p_holm: float = 0.01, **changes: Any) -> Comparison:
    """Every metric of a model is its mean above unmasked, 0.1 more masked; every interval reaches 0.01 each way."""
    settings = [(protocol, metric) for protocol in ("unmasked", "masked") for metric in ("hit@10", "ndcg@10", "mrr@10")]

    def mean(model: str, protocol: str) -> float:
        return (MEANS | UNTESTED)[model] + (0.1 if protocol == "masked" else 0.0)

    models, pairs, slices = [], [], []
    for protocol, metric in settings:
        for model in MEANS | UNTESTED:
            value, seeds = mean(model, protocol), [] if model in BASELINES else [0]
            models.append(
                ModelRow(
                    model,
                    protocol,
                    metric,
                    Estimate(value, value - 0.01, value + 0.01, 6040),
                    seeds,
                    [value] * len(seeds),
                    None,
                    None,
                )
            )
            parts = {"history_length": ("3-17", "18-90"), "target_popularity": ("head", "tail")}
            slices += [
                SliceRow(model, protocol, metric, by, part, 3020, value + 0.001 * place, 0.002)
                for by, names in parts.items()
                for place, part in enumerate(names)
            ]
        for first, second in combinations(sorted(MEANS), 2):
            gap = mean(first, protocol) - mean(second, protocol)
            difference = Difference(gap, gap - 0.01, gap + 0.01, 6040, p_holm, 0.014)
            pairs.append(PairRow(first, second, protocol, metric, difference, 0.002, 0.012, 0.001))
    some = Estimate(0.125, 0.12, 0.13, 6040)
    fields: dict[str, Any] = {
        "dataset": dataset,
        "fingerprint": "0123456789abcdef",
        "split": "test",
        "users": 6040,
        "targets": 6040,
        "items": 3416,
        "resamples": 10_000,
        "confidence": 0.95,
        "power": 0.8,
        "models": tuple(models),
        "pairs": tuple(pairs),
        "slices": tuple(slices),
        "recommendations": tuple(
            RecommendationsRow(
                model, seed, 6040, 10, share, 0.75, Estimate(bits, bits - 0.1, bits + 0.1, 1), *3 * [some]
            )
            for model, seed, share, bits in (
                *((model, 0, 0.5, 2.5) for model in SECONDS),
                ("most-popular", None, 0.1, 1.5),
            )
        ),
    }
    return Comparison(**(fields | changes))


def timed(seconds: float, sample: int, **fields: Any) -> TimedSample:
    """A sample of 10 users, of so many seconds each."""
    total = 10 * seconds
    whole: dict[str, Any] = {
        "kind": "users", "histories": "data", "length": None, "model": "sasrec", "profile": "best", "seed": 0,
        "weights": "trained", "mode": "full", "batch": 10, "sample": sample, "order": 0, "users": 10,
        "mean_length": 90.0, "mean_padded_length": 110.0, "forward_seconds": 0.5 * total,
        "scoring_seconds": 0.3 * total, "topk_seconds": 0.2 * total, "total_seconds": total, "request_seconds": [total],
        "outlier": False, "weight_bytes": 1_274_368, "state_bytes": None, "working_bytes": None,
        "wall_seconds": 1.1 * total,
        "cpu_seconds": total, "load_average": 0.1, "device": "cpu", "precision": "fp32", "kernels": "auto",
        "compiled": False, "threads": 1,
    } | fields  # fmt: skip
    requests = 10 // whole["batch"]
    return TimedSample(**{**whole, "request_seconds": [total / requests] * requests})


def samples() -> list[TimedSample]:
    """Six samples of every model at two sizes of requests, hydra4rec's last an outlier; and a sweep over L."""
    rows = []
    for model, seconds in SECONDS.items():
        for number in range(6):
            slow = 3.0 if (model, number) == ("hydra4rec", 5) else 1 + 0.02 * number
            rows += [
                timed(seconds * slow * factor, number, model=model, batch=batch) for batch, factor in ((10, 1), (1, 10))
            ]
        for length in (50, 5000):
            cost = 1e-9 * length**2 if model == "sasrec" else 1e-6 * length
            rows += [
                timed(
                    cost * (1 + 0.01 * number),
                    number,
                    model=model,
                    batch=1,
                    kind="length",
                    histories="generated",
                    length=length,
                )
                for number in range(5)
            ]
    return mark_outliers(rows)


def latency_summary(rows: list[TimedSample], dataset: str = "ml-1m", **changes: Any) -> LatencySummary:
    """The summary of these samples."""
    found = results(rows, seed=0)
    protocol = {"samples": 6, "users": 10, "outlier_rule": "Tukey's fences"}
    machine = {
        "device": "cpu", "device_name": "Somebody's CPU", "threads": 1, "kernels": {"selective_scan": "native"},
        "idle": True, "others_cores": 0.02, "torch": "2.13.0",
    }  # fmt: skip
    fields: dict[str, Any] = {
        "dataset": dataset,
        "fingerprint": "0123456789abcdef",
        "items": 3416,
        "eligible_users": 6040,
        "protocol": protocol,
        "machine": machine,
        "results": found,
        "crossings": crossings(found),
    }
    return LatencySummary(**(fields | changes))


def write_measurements(folder: Path, dataset: str = "ml-1m", fingerprint: str = "0123456789abcdef") -> dict[str, Path]:
    """Write comparison.json, latency.json and latency.parquet; return them by the names of the report's inputs."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = samples()
    paths = {
        "comparison": folder / "comparison.json",
        "latency": folder / "latency.json",
        "latency_samples": folder / "latency.parquet",
    }
    comparison(dataset, fingerprint=fingerprint).write(paths["comparison"])
    latency_summary(rows, dataset, fingerprint=fingerprint).write(paths["latency"])
    write_samples(paths["latency_samples"], rows)
    return paths

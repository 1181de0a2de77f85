"""Models with random weights, a clock whose times are known beforehand, and rows made by hand."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest
import torch

from ssm4rec.artifacts.latency import TimedSample
from ssm4rec.latency.timing import Subject
from ssm4rec.recipes.recommenders import recipe


class CountingMeter:
    """The forward of the n-th request takes n milliseconds, its scoring 2 n, its top-k 4 n, and 3 n of the CPU."""

    timer = "by count"
    working_bytes: int | None = None

    def __init__(self) -> None:
        self.requests = 0
        self.laps = 0
        self.cpu_seconds = 0.0

    def start(self) -> None:
        self.requests += 1
        self.laps = 0

    def lap(self) -> None:
        self.laps += 1

    def seconds(self) -> list[float]:
        assert self.laps == 3
        self.cpu_seconds = 3e-3 * self.requests
        return [1e-3 * self.requests * part for part in (1, 2, 4)]


@pytest.fixture
def meter() -> CountingMeter:
    return CountingMeter()


@pytest.fixture
def subject() -> Callable[..., Subject]:
    """Return a function that makes a model of the ``smoke`` profile with random weights."""

    def make(name: str, items: int, seed: int = 0) -> Subject:
        torch.manual_seed(seed)
        chosen = recipe(name, "smoke", "short")
        config = {"model": name, "profile": "smoke", "seed": seed, "recipe": asdict(chosen)}
        return Subject(chosen.model.build(items).eval(), config)

    return make


@pytest.fixture
def row() -> Callable[..., TimedSample]:
    """Return a function that makes a timed sample of 10 users in requests of 4, 4 and 2; fields can be changed."""

    def make(seconds: float = 1.0, **changed: Any) -> TimedSample:
        fields: dict[str, Any] = {
            "kind": "users", "histories": "data", "length": None, "model": "sasrec", "profile": "smoke", "seed": 0,
            "weights": "trained", "mode": "full", "batch": 4, "sample": 0, "order": 0, "users": 10, "mean_length": 7.0,
            "mean_padded_length": 8.0, "forward_seconds": 0.5 * seconds, "scoring_seconds": 0.25 * seconds,
            "topk_seconds": 0.25 * seconds, "total_seconds": seconds,
            "request_seconds": [0.5 * seconds, 0.375 * seconds, 0.125 * seconds], "outlier": False,
            "weight_bytes": 1000, "state_bytes": None, "working_bytes": None, "wall_seconds": 2 * seconds,
            "cpu_seconds": seconds, "load_average": 0.0, "device": "cpu", "precision": "fp32", "kernels": "auto",
            "compiled": False, "threads": 1,
        }  # fmt: skip
        return TimedSample(**{**fields, **changed})

    return make

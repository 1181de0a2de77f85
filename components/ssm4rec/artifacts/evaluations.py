"""metrics.json, which an evaluation writes.

``rows`` holds the model and every baseline (``"model": "most-popular", "seed": null``: it has no chance in it) in
both protocols, every metric at every cutoff.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from ssm4rec.artifacts.codec import Amount, Count, Document, Number, Positive, Share
from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.artifacts.training import RecipeParts, TrainingFacts


@dataclass(frozen=True)
class NumberRow:
    """One number of a study; the report's results.json is a list of these."""

    dataset: str
    model: str
    seed: Count | None
    split: str
    protocol: str
    metric: str
    value: Number


@dataclass(frozen=True)
class ResultRow(NumberRow):
    """One metric of a ranking."""

    value: Share


@dataclass(frozen=True)
class PartRow:
    """One number of a part of the targets: its mean over them, and the standard error of that mean.

    ``model`` is also a baseline, or ``random``.
    """

    model: str
    protocol: str
    metric: str
    value: Share
    standard_error: Amount


@dataclass(frozen=True)
class TargetPart:
    """The targets whose item has training events (``warm``), or has none (``cold``); ``items`` of the catalog do."""

    part: Literal["warm", "cold"]
    targets: Positive
    items: Count
    rows: tuple[PartRow, ...]


@dataclass(frozen=True)
class EvaluationSummary(Document, what="the metrics.json of an evaluation", made_by="evaluate"):
    """Everything the report needs to know of one evaluated model: metrics.json as an object."""

    dataset: str
    fingerprint: str
    model: str
    seed: Count
    profile: str
    split: Annotated[str, Field(pattern="^(validation|test)$")]
    users: Positive
    targets: Positive
    items: Positive
    parameters: Count
    parameters_without_embeddings: Count
    training: TrainingFacts
    recipe: RecipeParts
    rows: tuple[ResultRow, ...]
    nll: Estimate | None = None  # nats per target (``evaluation/likelihood.py``); files of earlier versions have none
    parts: tuple[TargetPart, ...] = ()  # of data with targets that no training event is of
    initial_model: str | None = None
    """The digest of the weights that the training began with, "" of none; files of earlier versions do not say."""
    shards: Positive = 1  # of users, each ranked by itself (``evaluation/sharding.py``)

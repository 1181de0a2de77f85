"""metrics.json, which an evaluation writes.

``rows`` holds the model and every baseline (``"model": "most-popular", "seed": null``: it has no chance in it) in
both protocols, every metric at every cutoff.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from ssm4rec.artifacts.codec import Count, Document, Positive, Share
from ssm4rec.artifacts.training import RecipeParts, TrainingFacts


@dataclass(frozen=True)
class ResultRow:
    """One number of a study; the report's results.json is a list of these."""

    dataset: str
    model: str
    seed: Count | None
    split: str
    protocol: str
    metric: str
    value: Share


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

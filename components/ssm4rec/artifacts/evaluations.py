"""metrics.json, which an evaluation writes.

::

    {"dataset": "ml-100k", "fingerprint": "…", "model": "sasrec", "seed": 0, "profile": "quick", "split": "test",
     "users": 943, "targets": 943, "items": 1349,
     "parameters": 341234, "parameters_without_embeddings": 99968,
     "training": {"epochs": 20, "best_epoch": 17, "stopped": "epochs" | "patience",
                  "validation_ndcg@10": 0.09, "cpu_seconds": 123.4, "device": "cpu"},
     "recipe": {"model": {…}, "training": {…}},
     "rows": [{"dataset": "ml-100k", "model": "sasrec", "seed": 0, "split": "test", "protocol": "unmasked",
               "metric": "hit@10", "value": 0.1}, …]}

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

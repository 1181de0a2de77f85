"""What one training is told: the model's sizes and how to train it."""

from dataclasses import dataclass
from typing import Literal

from ssm4rec.models.build import RecommenderConfig


@dataclass(frozen=True)
class TrainingSettings:
    """How a recommender is trained on all positions with the full softmax.

    Attributes:
        epochs: passes over the users; each pass reads one random window of ``maximum_length`` items of each user.
        patience: stop after this many epochs without a better validation NDCG@10.
        tokens_per_batch: the most cells (rows x longest row) of a batch.
        learning_rate: of AdamW, at its peak.
        schedule: ``cosine`` falls to zero over ``epochs``.
        betas: AdamW's decay rates of the two moments.
        weight_decay: AdamW's decoupled decay; 0 makes it Adam.
        gradient_norm: gradients are scaled down to this norm when they exceed it.
    """

    epochs: int
    patience: int
    tokens_per_batch: int
    learning_rate: float
    schedule: Literal["constant", "cosine"]
    betas: tuple[float, float]
    weight_decay: float
    gradient_norm: float

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.tokens_per_batch, self.learning_rate, self.gradient_norm) <= 0:
            raise ValueError("epochs, patience, tokens_per_batch, learning_rate and gradient_norm are above 0")
        if self.schedule not in ("constant", "cosine"):
            raise ValueError(f"there is no schedule called {self.schedule!r}: constant or cosine")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training but its data and its seed."""

    model: RecommenderConfig
    training: TrainingSettings

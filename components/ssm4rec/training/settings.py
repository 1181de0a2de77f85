"""What one training is told: the model's sizes and how to train it."""

from dataclasses import dataclass
from typing import Literal, get_args

from ssm4rec.models.build import RecommenderConfig

ObjectiveName = Literal["next-item", "sampled-prefixes", "every-prefix", "cloze"]
LossName = Literal["softmax", "sampled-softmax", "gbce", "bce"]


@dataclass(frozen=True)
class TrainingSettings:
    """How a recommender is trained.

    Attributes:
        epochs: passes over the users.
        patience: stop after this many epochs without a better validation NDCG@10.
        tokens_per_batch: the most cells (rows x longest row) of a batch.
        rows_per_batch: the most rows of a batch.
        learning_rate: of AdamW, at its peak.
        warmup: the share of all steps in which the rate rises from zero to its peak.
        schedule: ``cosine`` falls to zero over ``epochs``.
        betas: AdamW's decay rates of the two moments.
        weight_decay: AdamW's decoupled decay; 0 makes it Adam.
        gradient_norm: gradients are scaled down to this norm when they exceed it.
        objective: which targets are shown: see ``objectives.py``. Only ``cloze`` and the prefixes fit a model that
            is not causal.
        prefixes: of each user and epoch, with ``sampled-prefixes``.
        mask_share: of the items of a window, with ``cloze``.
        last_share: of the windows in which only the last item is masked, as at inference, with ``cloze``.
        loss: over the catalog or against negatives: see ``losses.py``.
        negatives: drawn for each batch (``sampled-softmax``, ``gbce``) or each target (``bce``).
        negative_power: negatives are drawn in proportion to (training count + 1) to this power; 0 is uniform.
        calibration: t of gBCE, in [0, 1]; 0 is plain BCE.
    """

    epochs: int
    patience: int
    tokens_per_batch: int
    rows_per_batch: int
    learning_rate: float
    warmup: float
    schedule: Literal["constant", "cosine"]
    betas: tuple[float, float]
    weight_decay: float
    gradient_norm: float
    objective: ObjectiveName = "next-item"
    prefixes: int = 1
    mask_share: float = 0.2
    last_share: float = 0.1
    loss: LossName = "softmax"
    negatives: int = 256
    negative_power: float = 0.0
    calibration: float = 0.75

    def __post_init__(self) -> None:
        for name in ("epochs", "patience", "tokens_per_batch", "rows_per_batch", "learning_rate", "gradient_norm"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is above 0")
        for name, value, choices in (
            ("schedule", self.schedule, ("constant", "cosine")),
            ("objective", self.objective, get_args(ObjectiveName)),
            ("loss", self.loss, get_args(LossName)),
        ):
            if value not in choices:
                raise ValueError(f"there is no {name} called {value!r}: {', '.join(choices)}")
        if min(self.prefixes, self.negatives) < 1:
            raise ValueError("prefixes and negatives are at least 1")
        for share in ("warmup", "mask_share", "last_share", "calibration"):
            if not 0 <= getattr(self, share) <= 1:
                raise ValueError(f"{share} is a share: from 0 to 1")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training but its data and its seed."""

    model: RecommenderConfig
    training: TrainingSettings

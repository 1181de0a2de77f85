"""What one training is told: the model's sizes and how to train it."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final, Literal, get_args, get_origin

from ssm4rec.artifacts.names import ControllerName, OptimizerName
from ssm4rec.models.sizes import RecommenderConfig

ObjectiveName = Literal["next-item", "sampled-prefixes", "every-prefix", "cloze"]
LossName = Literal["softmax", "sampled-softmax", "gbce", "bce"]
CropsName = Literal["random", "all"]

_ABOVE_ZERO: Final = (
    "epochs", "patience", "tokens_per_batch", "rows_per_batch", "learning_rate", "gradient_norm", "diameter",
)  # fmt: skip
_SHARES: Final = ("warmup", "mask_share", "last_share", "calibration", "momentum")
_RANGES: Final[tuple[tuple[tuple[str, ...], Callable[[float], bool], str], ...]] = (
    (_ABOVE_ZERO, lambda value: value > 0, "is above 0"),
    (("prefixes", "negatives", "micro_batches", "shrink"), lambda value: value >= 1, "is at least 1"),
    (_SHARES, lambda value: 0 <= value <= 1, "is a share: from 0 to 1"),
    (("forgetting",), lambda value: 0 < value < 1, "is between 0 and 1"),
    (("users_share",), lambda value: 0 < value <= 1, "is a share above 0, at most 1"),
    (("initial_rate", "frozen_epochs"), lambda value: value >= 0, "is 0 or above"),
)


@dataclass(frozen=True)
class TrainingSettings:
    """How a recommender is trained.

    Attributes:
        patience: stop after this many epochs without a better validation NDCG@10.
        refit: once validation has chosen the epoch, train again, from the same seed and for as many epochs, on training
            and validation items together, and keep those weights. It takes twice as long.
        frozen_epochs: the first epochs, in which the item vectors alone are trained: those of an initial model's mixers
            and layers stay until new items have found their place. With ``adamw``, ``adam`` and ``sgd``.
        users_share: the share of the users whose items are trained on (``SequenceDataset.of_users``); validation and
            test are of all users.
        tokens_per_batch: the most cells (rows x longest row) of a batch.
        learning_rate: at its peak; USGM has none.
        warmup: the share of the training in which the rate rises from zero to its peak.
        schedule: ``cosine`` falls to zero over ``epochs``.
        betas: decay rates of the two moments of ``adamw`` and ``adam``.
        weight_decay: ``adamw``: decoupled; ``adam`` and ``sgd``: as a penalty in the loss; USGM has none.
        gradient_norm: gradients are scaled down to this norm when they exceed it; USGM's are not, it measures them.
        objective: which targets are shown: see ``objectives.py``. Only ``cloze`` and the prefixes fit a model that
            is not causal.
        crops: of a user's items, shown by an epoch of ``next-item`` or ``cloze``: ``random``, one at a random place, or
            ``all``: then every target is shown once, whatever the model's ``max_length``.
        prefixes: of each user and epoch, with ``sampled-prefixes``.
        mask_share: of the items of a crop, with ``cloze``.
        last_share: of the crops in which only the last item is masked, as at inference, with ``cloze``.
        loss: over the catalog or against negatives: see ``losses.py``.
        negatives: drawn for each batch (``sampled-softmax``, ``gbce``) or each target (``bce``).
        negative_power: negatives are drawn in proportion to (training count + 1) to this power; 0 is uniform.
        calibration: t of gBCE, in [0, 1]; 0 is plain BCE.
        optimizer: see ``stepper.py``; ``usgm`` is the paper's (``optim/usgm.py``).
        diameter: of USGM's ball, in norms of the initial weights.
        initial_rate: USGM's first step per gradient; 0: to the ball's surface, as published.
        average: validate, and keep, the mean of USGM's iterates instead of the last.
        batch_control: how many batches the next step takes together: see ``optim/batch_size.py``.
        micro_batches: how many the first step takes, or every one with ``fixed``.
        forgetting: alpha, by which older steps weigh less for the controller.
        shrink: lambda, by which ``paper`` and ``inverse`` divide that number after an epoch.
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
    refit: bool = False
    frozen_epochs: int = 0
    users_share: float = 1.0
    crops: CropsName = "random"
    prefixes: int = 1
    mask_share: float = 0.2
    last_share: float = 0.1
    loss: LossName = "softmax"
    negatives: int = 256
    negative_power: float = 0.0
    calibration: float = 0.75
    optimizer: OptimizerName = "adamw"
    momentum: float = 0.9
    diameter: float = 3.0
    initial_rate: float = 0.0
    average: bool = False
    batch_control: ControllerName = "fixed"
    micro_batches: int = 1
    forgetting: float = 0.01
    shrink: float = 2.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if get_origin(field.type) is Literal and value not in get_args(field.type):
                raise ValueError(f"there is no {field.name} called {value!r}: {', '.join(get_args(field.type))}")
        for names, allowed, rule in _RANGES:
            for name in names:
                if not allowed(getattr(self, name)):
                    raise ValueError(f"{name} {rule}")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training but its data and its seed."""

    model: RecommenderConfig
    training: TrainingSettings

    def check(self) -> None:
        """Raise ValueError if the objective does not fit the model."""
        if self.training.objective == "next-item" and not self.model.causal:
            raise ValueError("training.objective next-item leaks the future through a model that is not causal")
        if self.training.frozen_epochs and self.training.optimizer == "usgm":
            raise ValueError("training.frozen_epochs does not go with usgm, whose ball is one of all weights")
        if self.training.frozen_epochs >= self.training.epochs:
            raise ValueError(
                "training.frozen_epochs must be below training.epochs: after them the whole model is trained"
            )
        if self.training.objective == "cloze" and not self.model.masks:
            raise ValueError("training.objective cloze needs a model with a mask token: model.readout=mask")

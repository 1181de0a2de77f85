"""The optimizer, and one step after another: the gradient of batches taken together, and how many the next takes.

Shapes: B batch, L length, T targets of a batch.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from ssm4rec.models.recommender import Recommender
from ssm4rec.optim.batch_size import BatchController, BregmanMeter, StepFacts, controller
from ssm4rec.optim.usgm import USGM
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.known_items import KnownItems
from ssm4rec.training.losses import Criterion, Repeats
from ssm4rec.training.objectives import Batch
from ssm4rec.training.settings import TrainingSettings


def build_optimizer(settings: TrainingSettings, parameters: Iterable[nn.Parameter]) -> Optimizer:
    """Return the optimizer that the settings name, for the initial weights."""
    weights = list(parameters)
    shared: dict[str, Any] = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay, "fused": True}
    match settings.optimizer:
        case "adamw":
            return torch.optim.AdamW(weights, betas=settings.betas, **shared)
        case "adam":
            return torch.optim.Adam(weights, betas=settings.betas, **shared)
        case "sgd":
            return torch.optim.SGD(weights, momentum=settings.momentum, **shared)
        case "usgm":
            diameter = settings.diameter * float(nn.utils.get_total_norm(weights))
            return USGM(weights, diameter, initial_rate=settings.initial_rate, average=settings.average)


def scheduled_rate(settings: TrainingSettings, passed: float) -> float:
    """Return the learning rate when a share of the training has passed, in [0, 1]."""
    share = 1.0
    if passed < settings.warmup:
        share = passed / settings.warmup
    elif settings.schedule == "cosine":
        share = 0.5 * (1 + math.cos(math.pi * (passed - settings.warmup) / (1 - settings.warmup)))
    return settings.learning_rate * share


def rate(optimizer: Optimizer) -> float | None:
    """Return the learning rate: what the steps of USGM have instead is 1 / H, None while H is 0."""
    if isinstance(optimizer, USGM):
        return 1 / optimizer.curvature if optimizer.curvature else None
    return float(optimizer.param_groups[0]["lr"])


@dataclass(frozen=True)
class Step:
    """What one step did."""

    loss: Tensor  # summed over this process's targets
    targets: int  # of all processes
    bregman: float | None  # beta of the step before (``optim/usgm.py``), if it was measured


class Stepper:
    """Takes the steps of a training, on every process of its machine.

    ``batch_control`` chooses how many batches the next step takes together.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        distributed: Distributed,
        model: Recommender,
        criterion: Criterion,
        optimizer: Optimizer,
        known: KnownItems | None = None,
    ) -> None:
        self.distributed, self.criterion, self.optimizer = distributed, criterion, optimizer
        self.gradient_norm = settings.gradient_norm
        self.weights = list(model.parameters())
        items = {id(weight) for weight in model.item_embedding.parameters()}
        self.others = [weight for weight in self.weights if id(weight) not in items]
        self.item_vectors_alone = False
        """Steps change the item vectors, and what is made of words for them, and nothing else."""
        self.batch_control: BatchController = controller(
            settings.batch_control, settings.micro_batches, alpha=settings.forgetting, shrink=settings.shrink
        )
        self.meter: BregmanMeter | None = None
        loss = _MeanLoss(model, criterion, known)
        self.loss: nn.Module = DistributedDataParallel(loss) if distributed.world_size > 1 else loss

    def start_epoch(self) -> None:
        """Forget the last step, which a resumed training does not know, and put the last iterate into the weights."""
        if self.batch_control.needs_bregman and not isinstance(self.optimizer, USGM):
            self.meter = BregmanMeter(self.weights)
        if isinstance(self.optimizer, USGM):
            self.optimizer.train()

    def end_epoch(self) -> None:
        """Put the mean of the iterates into the weights, where one is kept, for validation."""
        self.batch_control.end_epoch()
        if isinstance(self.optimizer, USGM):
            self.optimizer.eval()

    def take(self, group: list[Batch], rng: torch.Generator) -> Step:
        """Take one step on batches taken together; its gradient is the mean over all their targets.

        Raise GradientNotFiniteError if USGM met NaN or infinity.
        """
        control = self.batch_control
        counts = [int((batch.targets > 0).sum()) for batch in group]
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.zeros((), device=self.distributed.device)
        squared, squared_first = None, None
        for position, batch in enumerate(group):
            loss += self._backward(batch, rng, sum(counts))
            if position == 0 and control.needs_gradients:
                squared_first = self._squared_gradient() * (sum(counts) / counts[0]) ** 2
        if self.item_vectors_alone:
            for weight in self.others:
                weight.grad = None
        if control.needs_gradients:
            squared = self._squared_gradient()
        bregman = self.meter.measure() if self.meter else None
        if isinstance(self.optimizer, USGM):
            self.optimizer.step()
            bregman = self.optimizer.bregman if self.optimizer.step_length else None
        else:
            nn.utils.clip_grad_norm_(self.weights, self.gradient_norm)
            self.optimizer.step()
        control.observe(StepFacts(sum(counts), counts[0], bregman, squared, squared_first))
        return Step(loss, sum(counts), bregman)

    def _backward(self, whole: Batch, rng: torch.Generator, of_step: int) -> Tensor:
        """Add a batch's part to the step's gradient; return the loss summed over this process's targets."""
        distributed = self.distributed
        negatives = self.criterion.negatives(whole.targets, rng)
        rows, counts = distributed.shard(len(whole.items))
        batch = whole.part(rows)
        if self.criterion.own_negatives:
            negatives = negatives[rows]
        targets = int((batch.targets > 0).sum()) if counts else 0
        with distributed.autocast():
            loss: Tensor = self.loss(batch.to(distributed.device), negatives.to(distributed.device))
        # DistributedDataParallel averages over processes; weighted so, the result is the mean over all targets.
        (loss * (targets * distributed.world_size / of_step)).backward()  # type: ignore[no-untyped-call]
        return loss.detach() * targets

    def _squared_gradient(self) -> float:
        gradients = [weight.grad for weight in self.weights if weight.grad is not None]
        return float(nn.utils.get_total_norm(gradients)) ** 2


class _MeanLoss(nn.Module):
    """The loss of a batch as one module, so that all of it goes through DistributedDataParallel."""

    def __init__(self, model: Recommender, criterion: Criterion, known: KnownItems | None) -> None:
        super().__init__()
        self.model = model
        self.criterion = criterion
        self.known = known

    def forward(self, batch: Batch, negatives: Tensor) -> Tensor:
        with self.model.one_table():
            hidden, targets = batch.hidden(self.model)
            vectors = self.model.item_vectors()
        if self.criterion.own_negatives:
            negatives = negatives[batch.targets > 0]
        seen = batch.seen(self.model)
        if self.known is not None:
            vectors, targets, seen = self.known(vectors, targets, seen)
        term = self.model.repeat_term
        repeats = Repeats(term(), seen) if term is not None else None
        return self.criterion.loss(hidden, vectors, targets, negatives, repeats)

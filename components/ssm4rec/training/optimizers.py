"""From settings to an optimizer, and the rate at which it goes."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import Parameter
from torch.optim import Optimizer

from ssm4rec.optim.usgm import USGM
from ssm4rec.training.settings import TrainingSettings


def build_optimizer(settings: TrainingSettings, parameters: Iterable[Parameter]) -> Optimizer:
    """Return the optimizer that the settings name, for the initial weights."""
    weights = list(parameters)
    match settings.optimizer:
        case "adamw" | "adam":
            kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
            return kind(
                weights,
                lr=settings.learning_rate,
                betas=settings.betas,
                weight_decay=settings.weight_decay,
                fused=True,
            )
        case "sgd":
            return torch.optim.SGD(
                weights,
                lr=settings.learning_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
                fused=True,
            )
        case "usgm":
            diameter = settings.diameter * float(nn.utils.get_total_norm(weights))
            return USGM(weights, diameter, initial_rate=settings.initial_rate, average=settings.average)


def rate(optimizer: Optimizer) -> float | None:
    """Return the learning rate: what the steps of USGM have instead is 1 / H, None while H is 0."""
    if isinstance(optimizer, USGM):
        return 1 / optimizer.curvature if optimizer.curvature else None
    return float(optimizer.param_groups[0]["lr"])

"""USGM as transformers' Trainer takes an optimizer: with a schedule beside it, though it has no rate to schedule."""

from collections.abc import Iterable
from typing import Any

from torch import nn
from torch.nn import Parameter

from ssm4rec.optim.usgm import USGM


def usgm_for(trained: Iterable[Parameter], diameter: float) -> tuple[USGM, "StepLength"]:
    """Return the optimizer of an adapter's weights, and what Trainer asks for its rate.

    Args:
        trained: the LoRA matrices as they are at the start; half of them are zero, the norm is that of the others.
        diameter: of the ball, in norms of these weights.
    """
    weights = list(trained)
    optimizer = USGM(weights, diameter * float(nn.utils.get_total_norm(weights)))
    return optimizer, StepLength(optimizer)


class StepLength:
    """A schedule in name only: it says the rate that USGM's own accounts came to, 1 / H, and sets nothing."""

    def __init__(self, optimizer: USGM) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Do nothing: H has grown in the optimizer's step."""

    def get_last_lr(self) -> list[float]:
        """Return 1 / H; 0 while H is zero, when the first step goes to the ball's surface whatever the gradient."""
        return [1 / self.optimizer.curvature if self.optimizer.curvature else 0.0]

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the optimizer's state has it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing back."""

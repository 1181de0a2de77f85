"""Beta, the symmetrized Bregman distance along a step, for optimizers that do not measure it themselves (USGM does)."""

from collections.abc import Iterable

import torch
from torch import Tensor


class BregmanMeter:
    """Measures <g - previous g, x - previous x> (equation 1.3); keeps two copies of the parameters."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)
        self._last: tuple[list[Tensor], list[Tensor]] | None = None

    @torch.no_grad()
    def measure(self) -> float | None:
        """Return beta between the previous call and now, from the gradients that are there; None the first time."""
        weights = [parameter.detach().clone() for parameter in self.parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in self.parameters]
        last, self._last = self._last, (weights, gradients)
        if last is None:
            return None
        moves = torch._foreach_sub(weights, last[0])
        changes = torch._foreach_sub(gradients, last[1])
        products = [torch.dot(c.flatten().double(), m.flatten().double()) for c, m in zip(changes, moves, strict=True)]
        return float(torch.stack(products).sum())

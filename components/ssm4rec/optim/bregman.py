"""Beta, the symmetrized Bregman distance along a step, for optimizers that do not measure it themselves (USGM does)."""

from collections.abc import Iterable

import torch
from torch import Tensor


class BregmanMeter:
    """Measures <g - previous g, x - previous x> (equation 1.3); keeps two copies of the parameters."""

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)
        self._weights: list[Tensor] = []
        self._gradients: list[Tensor] = []

    @torch.no_grad()
    def measure(self) -> float | None:
        """Return beta between the previous call and now, from the gradients that are there; None the first time."""
        weights = [parameter.detach() for parameter in self.parameters]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        if not self._weights:
            self._weights = [weight.clone() for weight in weights]
            self._gradients = [gradient.clone() for gradient in gradients]
            return None
        # Both differences have the wrong sign, and their product the right one.
        torch._foreach_sub_(self._weights, weights)
        torch._foreach_sub_(self._gradients, gradients)
        pairs = zip(self._gradients, self._weights, strict=True)
        product = torch.stack([torch.dot(change.flatten(), move.flatten()) for change, move in pairs]).double().sum()
        torch._foreach_copy_(self._weights, weights)
        torch._foreach_copy_(self._gradients, gradients)
        return float(product)

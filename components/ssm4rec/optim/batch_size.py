"""How many micro-batches the next step takes: a fixed number, the paper's rule (section 3.6), and two that hold water.

A step of m micro-batches (of any DataLoader) has B targets in all, about m times as many as one, B0. The controllers
differ in what they believe about beta, the symmetrized Bregman distance along a step (``usgm.py``), or about the noise:

- ``fixed``: m stays.
- ``paper``: beta = c1 + c2 / sqrt(B), equation 2.1: m grows until the noise term falls under the curvature term c1.
- ``inverse``: beta = c1 + c2 / B, and then as ``paper``. Of two independent batches with the step d = -g / H between
  them, the first one's noise is in the gradient and in the step; beta holds |noise|² / H, whose mean is
  sigma² / (H B). Fitted on 1 / sqrt(B), c1 comes out below zero nearly always, and m grows to the end of each epoch.
- ``noise-scale``: E|gradient|² = |G|² + S / B; B follows S / |G|² (McCandlish et al. 2018, arXiv 1812.06162). It asks
  nothing of the optimizer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ssm4rec.artifacts.names import ControllerName


@dataclass(frozen=True)
class StepFacts:
    """What a controller learns of a finished step; what was not measured is None."""

    targets: int  # B of the step
    first_targets: int  # B of its first micro-batch
    bregman: float | None = None  # beta of the step before, whose end is where this step's gradient was taken
    squared_gradient: float | None = None  # |g|² of the step's gradient, a mean over its targets
    squared_first: float | None = None  # |g|² of the first micro-batch's gradient, a mean over its targets, too


class BatchController:
    """``fixed``, and what all controllers have in common."""

    needs_bregman = False
    needs_gradients = False

    def __init__(self, micro_batches: int) -> None:
        self.micro_batches = micro_batches  # m, to take for the next step
        self.curvature_term: float | None = None  # c1 of the last fit
        self.noise_term: float | None = None  # c2 of the same fit, or S of the noise scale

    def observe(self, facts: StepFacts) -> None:
        """Learn from a step and choose ``micro_batches`` for the next."""

    def end_epoch(self) -> None:
        """Choose ``micro_batches`` for the next epoch's first step."""

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training must know, as plain numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken."""
        vars(self).update(state)


class RegressionController(BatchController):
    """``paper`` and ``inverse``: m grows by one a step until a fit of beta on a power of B says that noise is small.

    How unclear sentences of section 3.6 are read here:

    - "increase … if c1 != c2 / sqr(B)": the two are never equal, so: while c2 / sqrt(B) is above c1.
    - The fit goes over all steps so far, each weighing (1 - alpha) times the next ("the use of values … only from the
      current epoch … almost do not change" it).
    - beta_(k+1) belongs to B_k, the batch that made the step, not to the next one, as in equation 2.2.
    - "B_i := B_(i-1) B_0 / lambda" at an epoch's end: m = max(1, round(m / lambda)).
    - Nothing is said of a fit that does not exist, while all B are equal (at the start, or frozen for long): then the
      last decision holds, and the first is to grow.
    """

    needs_bregman = True

    def __init__(self, micro_batches: int, *, power: float, alpha: float, shrink: float) -> None:
        """Fit on 1 / B to the ``power``; ``alpha`` forgets, ``shrink`` is lambda."""
        super().__init__(micro_batches)
        self.power, self.alpha, self.shrink = power, alpha, shrink
        self.growing = True
        self.last_targets = 0
        self.sums = [0.0] * 5  # weighted, of 1, x, y, x², x y

    def observe(self, facts: StepFacts) -> None:
        """Take beta into the fit, and grow, freeze or hold."""
        if facts.bregman is not None and self.last_targets:
            x, y = self.last_targets**-self.power, facts.bregman
            new = (1.0, x, y, x * x, x * y)
            self.sums = [(1 - self.alpha) * old + term for old, term in zip(self.sums, new, strict=True)]
        self.last_targets = facts.targets
        fit = self._fit()
        if fit is not None:
            self.curvature_term, self.noise_term = fit
            self.growing = self.growing and self.noise_term * facts.targets**-self.power > self.curvature_term
        if self.growing:
            self.micro_batches += 1

    def end_epoch(self) -> None:
        """Shrink: what was the right size may have changed."""
        self.micro_batches = max(1, round(self.micro_batches / self.shrink))
        self.growing = True

    def _fit(self) -> tuple[float, float] | None:
        """Return c1 and c2, None if all batches (that still count) were of one size."""
        weight, x, y, xx, xy = self.sums
        if not weight:
            return None
        mean_x, mean_y = x / weight, y / weight
        variance = xx / weight - mean_x**2
        if variance <= 1e-9 * mean_x**2:
            return None
        slope = (xy / weight - mean_x * mean_y) / variance
        return mean_y - slope * mean_x, slope


class NoiseScaleController(BatchController):
    """``noise-scale``: B follows S / |G|², the noise of one target's gradient over the gradient.

    Both come from the lengths of two gradients at the same weights, that of the first micro-batch and that of the
    whole step (McCandlish et al., appendix A.1), so a step has at least two. Each estimate is averaged over steps, as
    either alone may even be negative. m at most doubles or halves in a step.
    """

    needs_gradients = True

    def __init__(self, micro_batches: int, *, alpha: float) -> None:
        """Average with the weight ``alpha`` for the newest step."""
        super().__init__(max(2, micro_batches))
        self.alpha = alpha
        self.signal = 0.0
        self.noise = 0.0

    def observe(self, facts: StepFacts) -> None:
        """Take both gradients' lengths into the averages, and follow their ratio."""
        big, small = facts.targets, facts.first_targets
        if facts.squared_gradient is None or facts.squared_first is None or big <= small:
            return  # an epoch's last step may have had one micro-batch
        signal = (big * facts.squared_gradient - small * facts.squared_first) / (big - small)
        noise = (facts.squared_first - facts.squared_gradient) / (1 / small - 1 / big)
        self.signal += self.alpha * (signal - self.signal)
        self.noise += self.alpha * (noise - self.noise)
        if self.signal <= 0 or self.noise <= 0:
            return
        self.noise_term = self.noise
        wanted = min(self.noise / self.signal / small, 2.0 * self.micro_batches)
        self.micro_batches = max(round(wanted), self.micro_batches // 2, 2)


def controller(name: ControllerName, micro_batches: int, *, alpha: float, shrink: float) -> BatchController:
    """Return the controller of a name.

    Args:
        micro_batches: m of the first step, at least 1.
        alpha: how fast old steps are forgotten, in (0, 1); the paper's is .01.
        shrink: lambda, at least 1, by which m is divided after each epoch (``paper``, ``inverse``).
    """
    match name:
        case "fixed":
            return BatchController(micro_batches)
        case "paper":
            return RegressionController(micro_batches, power=0.5, alpha=alpha, shrink=shrink)
        case "inverse":
            return RegressionController(micro_batches, power=1.0, alpha=alpha, shrink=shrink)
        case "noise-scale":
            return NoiseScaleController(micro_batches, alpha=alpha)


class BregmanMeter:
    """Measures beta, <g - previous g, x - previous x> (equation 1.3), where the optimizer does not (USGM does).

    It keeps two copies of the parameters.
    """

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

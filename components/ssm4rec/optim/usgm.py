"""USGM, the Universal Stochastic Gradient Method (Rodomanov et al. 2024, arXiv 2402.03210; algorithm 1 of the paper).

A gradient method without a learning rate: its step, 1/H, follows from how much gradients change along the steps taken,
be it by curvature or by noise. It is told one length instead, the diameter D of a ball around the start that holds a
solution, and never leaves that ball.

When to use it: where nobody can tune a learning rate, and where batch sizes adapt (``batch_size.py``), which read its
measurements. Its guarantee is for convex losses and for the average of all iterates (``average=True``). What to expect
on the recommenders here, compared with Adam, is in RESULTS.md.

How to choose D: 2 to 4 times the norm of the initial weights for a network. D lengthens or shortens all steps, as a
learning rate would. Too small, and the weights end on the ball's surface (``distance_from_start`` stays D / 2); too
large, and the first steps are wild: give ``initial_rate`` then.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer


class GradientNotFiniteError(ValueError):
    """A gradient holds NaN or infinity; nothing was changed."""


class USGM(Optimizer):
    """One USGM step per ``step()``, with one gradient each.

    Step k, at weights x with gradient g, d = the last step:

    - beta = <g - previous g, d>, r = |d|, and H grows by max(beta - H r² / 2, 0) / (D² + r² / 2), line 5;
    - x becomes the point of the ball |x - x0| <= D / 2 nearest to x - g / H, line 3 with dom f the ball. While H is
      zero that minimum of a linear function is x0 - (D / 2) g / |g|, on the surface.

    All parameters are one vector. H is kept, and sums of products are finished, in float64. Beside the weights stand
    two copies, x0 and d, and a third with ``average``: <previous g, d> follows from numbers of the previous step.

    Groups of parameters share H and the ball. A group's ``weight`` w counts its part of every squared length w times
    (the matrix B of the paper's equation 1.2): with a weight of 4 its steps are a quarter as long.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        diameter: float,
        *,
        weight: float = 1.0,
        initial_rate: float = 0.0,
        average: bool = False,
    ) -> None:
        """Take the weights, as they are at the first step, as the ball's centre.

        Raise ValueError for a setting out of its range.

        Args:
            params: as for every torch optimizer; groups may set ``weight``.
            diameter: D.
            weight: of a group, see above.
            initial_rate: 1 / H of the first step; 0: the first step goes to the ball's surface, as published.
            average: keep the mean of all iterates after x0; ``eval()`` and ``train()`` change it for the weights.
        """
        if not (math.isfinite(diameter) and diameter > 0):
            raise ValueError(f"USGM: diameter is a number above 0, not {diameter}")
        if not (math.isfinite(initial_rate) and initial_rate >= 0):
            raise ValueError(f"USGM: initial_rate is 0 or above, not {initial_rate}")
        # Plain numbers, equal in all groups: state_dict keeps them as they are, while it would give a tensor of the
        # state the dtype of the weights.
        progress = {
            "steps": 0,
            "curvature": 1 / initial_rate if initial_rate else 0.0,
            "bregman": 0.0,
            "step_length": 0.0,
            "distance_from_start": 0.0,
            "last_product": 0.0,
            "last_length": 0.0,
            "shows_average": False,
        }
        super().__init__(params, {"diameter": diameter, "weight": weight, "average": average, **progress})
        for group in self.param_groups:
            if not (math.isfinite(group["weight"]) and group["weight"] > 0):
                raise ValueError(f"USGM: weight is a number above 0, not {group['weight']}")

    @property
    def curvature(self) -> float:
        """H: a step is g / H."""
        return float(self.param_groups[0]["curvature"])

    @property
    def bregman(self) -> float:
        """Beta at the last step: the symmetrized Bregman distance of its two ends, with noise (equation 1.3)."""
        return float(self.param_groups[0]["bregman"])

    @property
    def step_length(self) -> float:
        """Length r of the same step, 0 before there are two."""
        return float(self.param_groups[0]["step_length"])

    @property
    def distance_from_start(self) -> float:
        """|x - x0|."""
        return float(self.param_groups[0]["distance_from_start"])

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Take one step; a ``closure``, if given, computes the loss and the gradients first.

        Raises:
            GradientNotFiniteError: a gradient holds NaN or infinity; weights and state are as before.
            RuntimeError: the weights are the average, since ``eval()``.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        shared = self.param_groups[0]
        if shared["shows_average"]:
            raise RuntimeError("USGM: the weights are the average since eval(); call train() before the next step")
        gradients = [[_gradient(parameter) for parameter in group["params"]] for group in self.param_groups]
        moves = self._kept("move")
        product, squared_gradient = self._totals((gradients, moves, 0), (gradients, gradients, -1))
        if not (math.isfinite(product) and math.isfinite(squared_gradient)):
            raise GradientNotFiniteError("USGM: a gradient holds NaN or infinity")
        changes = self._measure(product - shared["last_product"])

        # The last step is not needed any more: from here on its place holds x - x0, and at the end the new step.
        for group, offset, start in zip(self.param_groups, moves, self._kept("start"), strict=True):
            torch._foreach_copy_(offset, group["params"])
            torch._foreach_sub_(offset, start)
        outward, squared_offset = self._totals((gradients, moves, 0), (moves, moves, 1))
        keep, along = _nearest(shared["diameter"] / 2, changes["curvature"], squared_offset, outward, squared_gradient)
        # x - x0 becomes keep (x - x0) - along g / w.
        for group, move, gradient in zip(self.param_groups, moves, gradients, strict=True):
            torch._foreach_mul_(move, keep - 1)
            torch._foreach_add_(move, gradient, alpha=-along / group["weight"])
            torch._foreach_add_(group["params"], move)
            if group["average"]:
                means = [self.state[parameter]["mean"] for parameter in group["params"]]
                torch._foreach_lerp_(means, group["params"], 1 / (shared["steps"] + 1))

        def length(kept: float) -> float:
            squared = kept**2 * squared_offset - 2 * kept * along * outward + along**2 * squared_gradient
            return math.sqrt(max(squared, 0.0))

        changes |= {
            "steps": shared["steps"] + 1,
            "distance_from_start": length(keep),
            "last_product": (keep - 1) * outward - along * squared_gradient,
            "last_length": length(keep - 1),
        }
        for group in self.param_groups:
            group.update(changes)
        return loss

    def eval(self) -> None:
        """With ``average``, change the weights for the mean of all iterates; a second call changes nothing."""
        self._show(average=True)

    def train(self) -> None:
        """Change the weights back for the last iterate, which the next step needs."""
        self._show(average=False)

    @torch.no_grad()
    def _show(self, *, average: bool) -> None:
        for group in self.param_groups:
            if not (group["average"] and group["steps"]) or group["shows_average"] == average:
                continue
            for parameter in group["params"]:
                shown = parameter.clone()
                parameter.copy_(self.state[parameter]["mean"])
                self.state[parameter]["mean"].copy_(shown)
            group["shows_average"] = average

    def _measure(self, bregman: float) -> dict[str, Any]:
        """Return what line 5 of the algorithm changes, given beta of the last step."""
        shared = self.param_groups[0]
        curvature: float = shared["curvature"]
        if not shared["steps"]:
            return {"curvature": curvature}
        half = shared["last_length"] ** 2 / 2
        curvature += max(bregman - curvature * half, 0.0) / (shared["diameter"] ** 2 + half)
        return {"curvature": curvature, "bregman": bregman, "step_length": shared["last_length"]}

    def _kept(self, name: str) -> list[list[Tensor]]:
        """Return a copy that is kept of every parameter, made when it is first asked for, a list per group."""
        for group in self.param_groups:
            for parameter in group["params"]:
                state = self.state[parameter]
                if not state:
                    state["start"] = parameter.detach().clone()
                    state["move"] = torch.zeros_like(parameter)
                    if group["average"]:
                        state["mean"] = torch.zeros_like(parameter)
        return [[self.state[parameter][name] for parameter in group["params"]] for group in self.param_groups]

    def _totals(self, *pairs: tuple[list[list[Tensor]], list[list[Tensor]], int]) -> list[float]:
        """Return inner products over all groups, each group's counted its weight to a power times.

        One transfer from a GPU for all of them.
        """
        products = [
            torch.stack([_dot(one, other) for one, other in zip(ones, others, strict=True)]).double().sum()
            * group["weight"] ** power
            for left, right, power in pairs
            for group, ones, others in zip(self.param_groups, left, right, strict=True)
        ]
        numbers: list[float] = torch.stack(products).tolist()
        groups = len(self.param_groups)
        return [sum(numbers[index : index + groups]) for index in range(0, len(numbers), groups)]


def _gradient(parameter: Tensor) -> Tensor:
    """Return a parameter's gradient; one that took no part has zero."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def _dot(one: Tensor, other: Tensor) -> Tensor:
    if one.dtype in (torch.float16, torch.bfloat16):
        one, other = one.float(), other.float()
    return torch.dot(one.flatten(), other.flatten())


def _nearest(
    radius: float, curvature: float, squared_offset: float, outward: float, squared_gradient: float
) -> tuple[float, float]:
    """Return s and t: the point of the ball nearest to x - g / H is x0 + s (x - x0) - t g.

    Args:
        radius: of the ball, D / 2.
        curvature: H.
        squared_offset: |x - x0|².
        outward: <g, x - x0>.
        squared_gradient: |g|², in the dual norm.
    """
    if squared_gradient == 0:
        return 1.0, 0.0  # a minimum, as far as this gradient tells
    if curvature == 0:
        return 0.0, radius / math.sqrt(squared_gradient)
    squared = squared_offset - 2 * outward / curvature + squared_gradient / curvature**2
    keep = min(1.0, radius / math.sqrt(squared)) if squared > 0 else 1.0
    return keep, keep / curvature

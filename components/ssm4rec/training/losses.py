"""The losses of next-item prediction, none of which ever holds all logits.

Shapes: T targets, D width, V items, K negatives, B rows of a batch, L its longest row. All losses take hidden states
(T, D), item vectors (V, D) of items 1..V, and targets (T,) in 1..V.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.training.settings import TrainingSettings

_CHUNK_CELLS = {"cpu": 2**18, "cuda": 2**26}
"""Logits held at a time. On a CPU one chunk (1 MiB) stays in the second-level cache."""


@dataclass(frozen=True)
class SeenItems:
    """Which items the model's input shows before each target."""

    items: Tensor  # the inputs, (B, L); what is not in 1..V, padding or a mask token, is not an item
    rows: Tensor  # of each target in ``items``, (T,)
    counts: Tensor  # how many inputs of that row it is predicted from, the first ones, (T,)

    def exclude_repeats(self) -> "SeenItems":
        """Return the same with 0 for an item that stands earlier in its row."""
        ordered, order = self.items.sort(dim=1, stable=True)
        again = functional.pad(ordered.diff(dim=1) == 0, (1, 0))
        return replace(self, items=self.items.masked_fill(again.scatter(1, order, again), 0))

    def cells(self, part: slice, item_count: int) -> tuple[Tensor, Tensor]:
        """Return the columns (t, L) of the items that some targets are predicted from, and which are items (t, L)."""
        columns = self.items[self.rows[part]] - 1
        earlier = torch.arange(columns.shape[1], device=columns.device) < self.counts[part, None]
        present = earlier & (columns >= 0) & (columns < item_count)
        return columns.where(present, 0), present

    def contain(self, wanted: Tensor) -> Tensor:
        """Return which of the items ``wanted`` (T, ...) are shown before their target, (T, ...)."""
        size = int(torch.maximum(self.items.max(), wanted.max())) + 1
        first_keys = torch.arange(len(self.items), device=self.items.device)[:, None] * size
        keys, places = (self.items + first_keys).flatten().sort(stable=True)  # the earliest of equal ones first
        rows = self.rows.view(-1, *[1] * (wanted.dim() - 1))
        asked = (rows * size + wanted).contiguous()
        found = torch.searchsorted(keys, asked).clamp(max=len(keys) - 1)
        earlier = places[found] % self.items.shape[1] < self.counts.view(rows.shape)
        return (keys[found] == asked) & earlier


@dataclass(frozen=True)
class Repeats:
    """What is added to the scores of items ``seen`` before each target: w of ``models/repeat_term.py``, of shape ()."""

    weight: Tensor
    seen: SeenItems

    def added(self, wanted: Tensor) -> Tensor:
        """Return what is added to the scores of items ``wanted`` (T, ...)."""
        return self.weight * self.seen.contain(wanted)


class Criterion:
    """One of the losses, with the negatives it needs."""

    def __init__(self, settings: TrainingSettings, training_counts: Int64s) -> None:
        """Take the settings and the number of training interactions of each item, (V + 1,) with padding first."""
        weights = torch.from_numpy(training_counts[1:] + 1.0) ** settings.negative_power
        self.settings = settings
        self.probability = weights / weights.sum()  # (V,)
        self.own_negatives = settings.loss == "bce"
        """Each target has negatives of its own, instead of the batch's."""

    def negatives(self, targets: Tensor, rng: torch.Generator) -> Tensor:
        """Draw items 1..V against which targets of any shape (...) are compared: (K,), or (..., K) with ``bce``."""
        shape = {"softmax": (0,), "bce": (*targets.shape, self.settings.negatives)}
        size = shape.get(self.settings.loss, (self.settings.negatives,))
        count = int(torch.tensor(size).prod())
        if not self.settings.negative_power:
            return torch.randint(1, len(self.probability) + 1, size, generator=rng)
        return torch.multinomial(self.probability, max(1, count), True, generator=rng)[:count].view(size) + 1

    def loss(
        self, hidden: Tensor, item_vectors: Tensor, targets: Tensor, negatives: Tensor, repeats: Repeats | None = None
    ) -> Tensor:
        """Return the mean loss of the targets, in nats.

        ``negatives`` are what :meth:`negatives` drew for them; ``repeats`` is what a repeat term adds to the scores of
        items that were shown.
        """
        match self.settings.loss:
            case "softmax":
                return full_softmax_loss(hidden, item_vectors, targets, repeats)
            case "sampled-softmax":
                expected = self.probability.to(hidden.device, torch.float32)
                return sampled_softmax_loss(hidden, item_vectors, targets, negatives, expected, repeats)
            case "gbce":
                power = gbce_power(self.settings.negatives, len(item_vectors), self.settings.calibration)
                return binary_loss(hidden, item_vectors, targets, negatives, power, repeats)
            case "bce":
                return binary_loss(hidden, item_vectors, targets, negatives, 1.0, repeats)


def full_softmax_loss(hidden: Tensor, item_vectors: Tensor, targets: Tensor, repeats: Repeats | None = None) -> Tensor:
    """Return the mean cross-entropy of the targets under softmax(hidden @ item_vectors.T), in nats.

    The gradients are computed during the forward pass, chunk of rows by chunk of rows, so that a chunk's logits are
    used while they are in the cache and then dropped: memory does not grow with T x V. Under autocast the products
    are of its type, the exponentials and sums float32.

    The gradient of the repeat term is the share of the softmax that shown items have, less the share of the targets
    that were shown.
    """
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _FullSoftmax.apply(  # type: ignore[no-untyped-call]
            hidden,
            item_vectors,
            targets - 1,
            repeats and repeats.weight,
            dtype,
            repeats and repeats.seen.exclude_repeats(),
        )
    return loss


class _FullSoftmax(Function):
    """Loss and both gradients in one pass over row chunks; the products are of ``dtype``."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        item_vectors: Tensor,
        columns: Tensor,
        weight: Tensor | None,
        dtype: torch.dtype,
        seen: SeenItems | None,
    ) -> Tensor:
        T, V = len(hidden), len(item_vectors)
        rows = max(32, _CHUNK_CELLS[hidden.device.type] // V)
        states, vectors = hidden.to(dtype), item_vectors.to(dtype)
        loss = torch.zeros((), dtype=item_vectors.dtype, device=hidden.device)
        hidden_gradient = torch.empty_like(states)
        vector_gradient = torch.zeros_like(item_vectors)
        weight_gradient = torch.zeros_like(loss)
        for start in range(0, T, rows):
            part = slice(start, start + rows)
            column = columns[part, None]
            logits = (states[part] @ vectors.T).to(item_vectors.dtype)  # (rows, V)
            if seen and weight is not None:
                cells, present = seen.cells(part, V)
                logits.scatter_add_(1, cells, weight.to(logits.dtype) * present)
            logits -= logits.amax(dim=1, keepdim=True)
            own = logits.gather(1, column)
            slope = logits.exp_()  # the only exponential, for loss and gradient
            total = slope.sum(dim=1, keepdim=True)
            loss += (total.log() - own).sum()
            # d loss / d logits = softmax - one-hot
            slope /= total
            slope.scatter_add_(1, column, slope.new_full(column.shape, -1.0))
            if seen:
                weight_gradient += (slope.gather(1, cells) * present).sum()
            slope = slope.to(dtype)
            torch.mm(slope, vectors, out=hidden_gradient[part])
            if dtype == item_vectors.dtype:
                vector_gradient.addmm_(slope.T, states[part])
            else:  # summed over chunks in the wide type
                vector_gradient += slope.T @ states[part]
        ctx.save_for_backward(hidden_gradient.to(hidden.dtype), vector_gradient, weight_gradient)
        ctx.targets = T
        return loss / T

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None, Tensor | None, None, None]:
        hidden_gradient, vector_gradient, weight_gradient = ctx.saved_tensors
        scale = slopes[0] / ctx.targets
        of_hidden = hidden_gradient * scale.to(hidden_gradient.dtype)
        of_weight = weight_gradient * scale if ctx.needs_input_grad[3] else None
        return of_hidden, vector_gradient * scale, None, of_weight, None, None


def sampled_softmax_loss(
    hidden: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    negatives: Tensor,
    probability: Tensor,
    repeats: Repeats | None = None,
) -> Tensor:
    """Return the mean cross-entropy of each target against K negatives that all targets share.

    Every logit is lowered by the logarithm of how often its item is expected among what is compared, so that the
    minimum is that of the full softmax (Bengio & Senecal 2008; "logQ correction", Yi et al. 2019). A negative that is
    a row's own target is left out of that row.

    Args:
        negatives: (K,), in 1..V, drawn with replacement.
        probability: with which an item is drawn, (V,), summing to 1.
    """
    expected = probability.log() + torch.log(torch.tensor(float(len(negatives)), device=hidden.device))
    own = (hidden * item_vectors[targets - 1]).sum(1) - expected[targets - 1]  # (T,)
    others = hidden @ item_vectors[negatives - 1].T - expected[negatives - 1]  # (T, K)
    if repeats:
        own = own + repeats.added(targets)
        others = others + repeats.added(negatives.expand_as(others))
    others = others.masked_fill(targets[:, None] == negatives, -torch.inf)
    return (torch.cat([own[:, None], others], dim=1).logsumexp(1) - own).mean()


def binary_loss(
    hidden: Tensor,
    item_vectors: Tensor,
    targets: Tensor,
    negatives: Tensor,
    power: float,
    repeats: Repeats | None = None,
) -> Tensor:
    """Return the mean binary cross-entropy of each target and its K negatives.

    -(power log s(target) + sum over negatives of log(1 - s(negative))) / (K + 1) with s the sigmoid of the score:
    plain BCE (SASRec) with ``power`` 1, gBCE (Petrov & Macdonald 2023, equation 9) with ``gbce_power``.

    ``negatives`` are (K,), shared by all targets, or (T, K), of each its own; one equal to the target is left out.
    """
    own = (hidden * item_vectors[targets - 1]).sum(1)
    if negatives.dim() == 1:
        others = hidden @ item_vectors[negatives - 1].T  # (T, K)
    else:
        others = (item_vectors[negatives - 1] @ hidden[..., None])[..., 0]
    if repeats:
        own = own + repeats.added(targets)
        others = others + repeats.added(negatives.expand_as(others))
    absent = targets[:, None] == negatives
    pushed = functional.softplus(others).masked_fill(absent, 0.0).sum(1)  # -log(1 - s(x)) = softplus(x)
    pulled = power * functional.softplus(-own)
    return ((pulled + pushed) / (negatives.shape[-1] + 1)).mean()


def gbce_power(negatives: int, item_count: int, calibration: float) -> float:
    """Return the power of the target's probability that calibrates BCE with few negatives.

    a (t (1 - 1 / a) + 1 / a) with a = negatives / (V - 1), the sampling rate (Petrov & Macdonald 2023, equation 11).

    >>> gbce_power(10, 101, 0.0), gbce_power(10, 101, 1.0) == 10 / 100
    (1.0, True)
    """
    if item_count < 2:
        return 1.0
    rate = min(1.0, negatives / (item_count - 1))
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)

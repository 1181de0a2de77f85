"""Full-softmax cross-entropy that never holds all logits.

Shapes: T targets, D width, V items.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

_CHUNK_CELLS = {"cpu": 2**18, "cuda": 2**26}
"""Logits held at a time. On a CPU one chunk (1 MiB) stays in the second-level cache."""


def full_softmax_loss(hidden: Tensor, item_vectors: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of the targets under softmax(hidden @ item_vectors.T), in nats.

    The gradients are computed during the forward pass, chunk of rows by chunk of rows, so that a chunk's logits are
    used while they are in the cache and then dropped: memory does not grow with T x V.

    Args:
        hidden: (T, D).
        item_vectors: (V, D), of items 1..V.
        targets: (T,), in 1..V.
    """
    loss: Tensor = _FullSoftmax.apply(hidden, item_vectors, targets - 1)  # type: ignore[no-untyped-call]
    return loss


class _FullSoftmax(Function):
    """Loss and both gradients in one pass over row chunks."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, item_vectors: Tensor, columns: Tensor) -> Tensor:
        T, V = len(hidden), len(item_vectors)
        rows = max(32, _CHUNK_CELLS[hidden.device.type] // V)
        loss = hidden.new_zeros(())
        hidden_gradient = torch.empty_like(hidden)
        vector_gradient = torch.zeros_like(item_vectors)
        for start in range(0, T, rows):
            part = slice(start, start + rows)
            column = columns[part, None]
            logits = hidden[part] @ item_vectors.T  # (rows, V)
            logits -= logits.amax(dim=1, keepdim=True)
            own = logits.gather(1, column)
            slope = logits.exp_()  # the only exponential, for loss and gradient
            total = slope.sum(dim=1, keepdim=True)
            loss += (total.log() - own).sum()
            # d loss / d logits = softmax - one-hot
            slope /= total
            slope.scatter_add_(1, column, slope.new_full(column.shape, -1.0))
            torch.mm(slope, item_vectors, out=hidden_gradient[part])
            vector_gradient.addmm_(slope.T, hidden[part])
        ctx.save_for_backward(hidden_gradient, vector_gradient)
        ctx.targets = T
        return loss / T

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, Tensor, None]:
        hidden_gradient, vector_gradient = ctx.saved_tensors
        scale = slopes[0] / ctx.targets
        return hidden_gradient * scale, vector_gradient * scale, None

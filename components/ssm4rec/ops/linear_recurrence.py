"""Diagonal linear recurrence: the scan of the linear recurrent unit, step by step and in chunks.

Shapes: B batch, L length, C channels, Q chunk length, K chunks of Q steps (the last may be shorter).

For every sequence and channel, with one complex decay a of modulus below 1::

    h_t = a h_{t-1} + x_t

Source: Orvieto et al. (2023), "Resurrecting recurrent neural networks for long sequences", the linear recurrent unit.
They and Yueeeeeeee/LlamaRec:model/lru.py scan in log L rounds over the whole data; on a CPU that takes 7 times as long.
"""

import math
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from ssm4rec.ops.backend import backend_of

_SHORTEST_CHUNK: Final = 16
"""Shorter ones would save nothing: with more than one chunk, what is carried between them costs a pass of its own."""


def linear_recurrence(
    x: Tensor, decay: Tensor, segments: Tensor | None = None, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Evaluate the recurrence by the backend that ``ops.backend`` names; there is no fused one.

    Complex tensors are pairs of reals side by side: ``torch.view_as_complex`` and ``torch.view_as_real`` cost nothing.

    Args:
        x: inputs, complex, (B, L, C).
        decay: of the same dtype, modulus below 1, (C,).
        segments: ids (B, L), never falling along a row; the state is 0 at each segment's start. None: one segment.
        initial_state: before the row, of its first segment, (B, C); None: zeros.

    Returns:
        All states (B, L, C), and the state after the last position (B, C), which is the last of them.
    """
    match backend_of("linear_recurrence", x.device):
        case "sequential":
            return linear_recurrence_sequential(x, decay, segments, initial_state)
        case _:
            return linear_recurrence_chunked(x, decay, segments, initial_state)


def linear_recurrence_sequential(
    x: Tensor, decay: Tensor, segments: Tensor | None = None, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Evaluate the definition step by step: the reference. Args and returns: as :func:`linear_recurrence`."""
    state = torch.zeros_like(x[:, 0]) if initial_state is None else initial_state
    states = []
    for t, inputs in enumerate(x.unbind(1)):
        if segments is not None and t > 0:
            state = state * (segments[:, t] == segments[:, t - 1])[:, None]
        state = decay * state + inputs
        states.append(state)
    return torch.stack(states, dim=1), state


def linear_recurrence_chunked(
    x: Tensor, decay: Tensor, segments: Tensor | None = None, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Evaluate the same map in Q + K steps. Args and returns: as :func:`linear_recurrence`.

    First all chunks are run side by side, each from a zero state; then the state that enters a chunk is added to its
    steps, chunk after chunk. With Q near the square root of L, 200 steps become 29, and 10,000 become 200. Every step
    is one multiply-add in place, and the gradient is the same recurrence run backwards.
    """
    states: Tensor = _Recurrence.apply(x, decay, segments, initial_state)  # type: ignore[no-untyped-call]
    return states, states[:, -1]


class _Recurrence(Function):
    """The states (B, L, C), with a gradient by hand.

    With slope_t the loss's slope at h_t itself and g_t that through all later states too, g_t = slope_t + conj(a)
    g_{t+1}. The gradient by x_t is g_t, by the initial state conj(a) g_0, by a the sum of conj(h_{t-1}) g_t.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, decay: Tensor, segments: Tensor | None, initial_state: Tensor | None) -> Tensor:
        states = _own_copy(x)
        if initial_state is not None:
            states[:, 0].addcmul_(decay, initial_state)
        _run(states, decay, segments, backwards=False)
        ctx.save_for_backward(states, decay, segments, initial_state)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor, Tensor, None, Tensor | None]:
        states, decay, segments, initial_state = ctx.saved_tensors
        conjugate = decay.conj().resolve_conj()
        gradient = _own_copy(slopes)
        _run(gradient, conjugate, segments, backwards=True)
        before = states[:, :-1].conj()
        if segments is not None:
            before = before * _same(segments[:, 1:], segments[:, :-1], before.dtype)
        by_decay = (before * gradient[:, 1:]).sum((0, 1))
        if initial_state is None:
            return gradient, by_decay, None, None
        by_decay = by_decay + (initial_state.conj() * gradient[:, 0]).sum(0)
        return gradient, by_decay, None, conjugate * gradient[:, 0]


def _own_copy(x: Tensor) -> Tensor:
    """Return a contiguous copy, conjugation carried out."""
    return torch.empty(x.shape, dtype=x.dtype, device=x.device).copy_(x)


def _run(states: Tensor, decay: Tensor, segments: Tensor | None, *, backwards: bool) -> None:
    """Turn inputs (B, L, C) into states in place: every step receives from the one before it; backwards, after it."""
    L, C = states.shape[1:]
    Q = min(L, max(_SHORTEST_CHUNK, math.isqrt(L)))

    def receive(places: slice, sources: slice, factor: Tensor) -> None:
        if segments is not None:
            factor = factor * _same(segments[:, places], segments[:, sources], factor.dtype)
        states[:, places].addcmul_(factor, states[:, sources])

    # 1. Step q of all chunks at once, from its neighbour.
    back = 1 if backwards else -1
    for q in range(Q - 2, -1, -1) if backwards else range(1, Q):
        span = Q * len(range(max(q, q + back), L, Q))  # the last chunk may lack the later of the two
        receive(slice(q, q + span, Q), slice(q + back, q + back + span, Q), decay)

    # 2. Chunk after chunk, from the neighbouring chunk's nearest step.
    powers = decay.expand(Q, C).cumprod(0)  # over 1 .. Q steps
    starts = range(Q, L, Q)
    if backwards:
        powers = powers.flip(0)
        for start in reversed(starts):
            receive(slice(start - Q, start), slice(start, start + 1), powers)
    else:
        for start in starts:
            receive(slice(start, start + Q), slice(start - 1, start), powers[: L - start])


def _same(ids: Tensor, others: Tensor, dtype: torch.dtype) -> Tensor:
    """Return 1 where two steps are of one segment and 0 where not, (B, steps, 1)."""
    return (ids == others)[..., None].to(dtype)

"""What every causal mixer takes and gives.

A mixer maps x (B, L, D) to (B, L, D) and carries a state, so that a sequence can be read in parts::

    y, state = mixer(x, segments=None, state=None, lengths=None, ends=None)

- ``segments`` (B, L): several sequences in a row, one id each, never falling; nothing crosses from one to the next.
- ``state``: after what came before the row (its first segment); None: nothing came before.
- ``lengths`` (B,): rows are padded on the right; the returned state is that after each row's last real position.
- ``ends`` (B,): the rows' lengths again, where y is wanted of each row's last real position alone, (B, 1, D).

One event at a time is L = 1 with a state. Shapes: B batch, L length, D width, C channels, W kernel width.
"""

import math

import torch
from torch import Tensor, nn

Memory = tuple[Tensor, ...]
"""What a mixer or a model carries from one part of a sequence to the next; each tensor (B, ...)."""


def valid_mask(lengths: Tensor, steps: int) -> Tensor:
    """Return which of ``steps`` positions are real, (B, L) of bool."""
    return torch.arange(steps, device=lengths.device) < lengths[:, None]


def inputs_before(x: Tensor, lengths: Tensor, before: Tensor | None, count: int) -> Tensor:
    """Return the last ``count`` of each row's real inputs, as a convolution's state.

    Args:
        x: (B, L, C), padded on the right.
        lengths: (B,).
        before: the ``count`` inputs before the row, (B, count, C); None: zeros.
        count: W - 1.
    """
    places = (lengths[:, None] - count + torch.arange(count, device=x.device))[..., None]  # in x, from -count on
    of_row = x.gather(1, places.clamp(min=0).expand(-1, -1, x.shape[2]))
    if before is None:
        return of_row.masked_fill(places < 0, 0)
    earlier = before.to(x.dtype).gather(1, (places + count).clamp(max=count - 1).expand(-1, -1, x.shape[2]))
    return torch.where(places < 0, earlier, of_row)


def at_last(x: Tensor, lengths: Tensor) -> Tensor:
    """Return what stands at each row's last real position, (B, ...) of x (B, L, ...)."""
    return x[torch.arange(len(x), device=x.device), lengths - 1]


def last_alone(x: Tensor, lengths: Tensor) -> Tensor:
    """Return each row's last real position as a row of its own, (B, 1, ...) of x (B, L, ...)."""
    return at_last(x, lengths)[:, None]


def initial_convolution(channels: int, width: int) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weights (C, W) and biases (C,) of a depthwise convolution, drawn as torch's own layer draws them."""
    bound = width**-0.5
    weight, bias = torch.empty(channels, width), torch.empty(channels)
    return nn.Parameter(weight.uniform_(-bound, bound)), nn.Parameter(bias.uniform_(-bound, bound))


def initial_dt_bias(count: int) -> Tensor:
    """Return biases (count,) whose softplus is log-uniform in [0.001, 0.1]: the initial step sizes of Mamba."""
    dt = torch.exp(torch.empty(count).uniform_(math.log(1e-3), math.log(1e-1))).clamp(min=1e-4)
    return dt + torch.log(-torch.expm1(-dt))

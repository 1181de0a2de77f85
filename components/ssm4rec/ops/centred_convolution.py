"""Centred depthwise convolution, as in the Hydra block: it sees as far ahead as back.

Shapes: B batch, L length, C channels, W kernel width (odd), R = (W - 1) / 2 its reach to either side.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ssm4rec.ops.backend import backend_of
from ssm4rec.ops.convolution import depthwise, depthwise_in_segments


def centred_convolution(x: Tensor, weight: Tensor, bias: Tensor, segments: Tensor | None = None) -> Tensor:
    """Convolve each channel over time; output t sees inputs t - R .. t + R of its own segment, zeros outside it.

    Args:
        x: (B, L, C).
        weight: (C, W); column R multiplies the present step, the columns after it the steps ahead.
        bias: (C,).
        segments: ids (B, L), never falling along a row; None: each row is one segment.

    Returns:
        The outputs (B, L, C).

    Raises:
        ValueError: W is even, so that no step is in the middle.
    """
    if weight.shape[1] % 2 == 0:
        raise ValueError(f"a centred convolution has an odd width, not {weight.shape[1]}")
    if backend_of("centred_convolution", x.device) == "sequential":
        return centred_convolution_sequential(x, weight, bias, segments)
    reach = weight.shape[1] // 2
    padded = functional.pad(x, (0, 0, reach, reach))
    if segments is None:
        return depthwise(padded, weight, bias)
    ids = functional.pad(segments, (reach, reach))  # any id does there: the inputs are 0
    return depthwise_in_segments(padded, weight, bias, ids, segments)


def centred_convolution_sequential(x: Tensor, weight: Tensor, bias: Tensor, segments: Tensor | None = None) -> Tensor:
    """Evaluate the definition step by step: the reference. Args and returns: as :func:`centred_convolution`."""
    L, reach = x.shape[1], weight.shape[1] // 2
    outputs = []
    for t in range(L):
        near = slice(max(0, t - reach), min(L, t + reach + 1))
        window = x[:, near]  # (B, up to W, C)
        if segments is not None:
            window = window * (segments[:, near] == segments[:, t : t + 1])[..., None]
        columns = slice(near.start - t + reach, near.stop - t + reach)
        outputs.append((window * weight[:, columns].T).sum(1) + bias)
    return torch.stack(outputs, dim=1)

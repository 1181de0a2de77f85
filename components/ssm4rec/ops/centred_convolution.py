"""Centred depthwise convolution, as in the Hydra block: it sees as far ahead as back.

Shapes: B batch, L length, C channels, W kernel width (odd), R = (W - 1) / 2 its reach to either side.
"""

import torch
from torch import Tensor
from torch.nn import functional

from ssm4rec.ops.choice import form_of


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
    if form_of("centred_convolution", x.device) == "sequential":
        return centred_convolution_sequential(x, weight, bias, segments)
    return _grouped(x, weight, bias) if segments is None else _shifted(x, weight, bias, segments)


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


def _grouped(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    # In two dimensions, with a height of 1, torch keeps channels last, and a CPU convolves several times faster than in
    # one dimension; what follows also finds its channels side by side.
    rows = x.transpose(1, 2)[:, :, None]  # (B, C, 1, L)
    kernel = weight[:, None, None]  # (C, 1, 1, W)
    y = functional.conv2d(rows, kernel, bias, padding=(0, weight.shape[1] // 2), groups=len(weight))
    return y[:, :, 0].transpose(1, 2)


def _shifted(x: Tensor, weight: Tensor, bias: Tensor, segments: Tensor) -> Tensor:
    """Sum W shifted products, each masked where it would reach out of a segment."""
    L, W = x.shape[1], weight.shape[1]
    reach = W // 2
    padded = functional.pad(x, (0, 0, reach, reach))
    ids = functional.pad(segments, (reach, reach))  # any id does there: the inputs are 0
    y = torch.addcmul(bias, x, weight[:, reach])
    for k in range(W):
        if k != reach:
            same = (ids[:, k : k + L] == segments)[..., None]
            y = torch.addcmul(y, padded[:, k : k + L] * same, weight[:, k])
    return y

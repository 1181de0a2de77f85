"""Causal depthwise convolution, as in the Mamba blocks.

Shapes: B batch, L length, C channels, W kernel width.
"""

from torch import Tensor
from torch.nn import functional


def causal_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Convolve each channel over time; output t sees inputs t - W + 1 .. t, zeros before the start.

    Args:
        x: (B, L, C).
        weight: (C, W); the last column multiplies the present step.
        bias: (C,).

    Returns:
        (B, L, C).
    """
    channels, width = weight.shape
    padded = functional.pad(x.transpose(1, 2), (width - 1, 0))
    return functional.conv1d(padded, weight[:, None], bias, groups=channels).transpose(1, 2)

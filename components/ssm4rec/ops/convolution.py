"""Depthwise convolutions: causal, as in the Mamba blocks, and centred, as in the Hydra block.

Shapes: B batch, L length, C channels, W kernel width; of a centred one W is odd, R = (W - 1) / 2 its reach.
"""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn import functional

from ssm4rec.ops.backend import accepted, backend_of, fused_module, other_types


def causal_convolution(
    x: Tensor, weight: Tensor, bias: Tensor, segments: Tensor | None = None, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Convolve each channel over time; output t sees inputs t - W + 1 .. t of its own segment, zeros before it.

    Args:
        x: (B, L, C).
        weight: (C, W), W at least 2; the last column multiplies the present step.
        bias: (C,).
        segments: ids (B, L), never falling along a row; None: each row is one segment.
        initial_state: the W - 1 inputs before the row, of its first segment, (B, W - 1, C); None: zeros.

    Returns:
        The outputs (B, L, C), and the last W - 1 inputs (B, W - 1, C), with which the next row of the same sequences
        goes on; zeros where they are of an earlier segment than the last.
    """
    match backend_of("causal_convolution", x.device):
        case "sequential":
            return causal_convolution_sequential(x, weight, bias, segments, initial_state)
        case "cuda_kernel" if (segments is None or initial_state is None) and accepted(  # the kernel takes one of them
            "causal_convolution", _beyond_kernel(x, weight, bias)
        ):
            y = _fused(x, weight, bias, segments, initial_state)
        case _ if segments is None:
            y = _depthwise(_before(x, weight.shape[1], initial_state), weight, bias)
        case _:
            padded = _before(x, weight.shape[1], initial_state)
            y = _depthwise_in_segments(padded, weight, bias, _ids_before(segments, weight.shape[1]), segments)
    return y, _last_inputs(x, weight.shape[1], segments, initial_state)


def causal_convolution_sequential(
    x: Tensor, weight: Tensor, bias: Tensor, segments: Tensor | None = None, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Evaluate the definition step by step: the reference for every other form."""
    B, L, C = x.shape
    width = weight.shape[1]
    empty = x.new_zeros(B, width - 1, C)
    recent = empty if initial_state is None else initial_state  # the inputs of this segment so far
    outputs = []
    for t in range(L):
        if segments is not None and t > 0:
            recent = torch.where((segments[:, t] == segments[:, t - 1])[:, None, None], recent, empty)
        window = torch.cat([recent, x[:, t : t + 1]], dim=1)  # (B, W, C)
        outputs.append((window * weight.T).sum(1) + bias)
        recent = window[:, 1:]
    return torch.stack(outputs, dim=1), recent


def centred_convolution(x: Tensor, weight: Tensor, bias: Tensor, segments: Tensor | None = None) -> Tensor:
    """Convolve each channel over time; output t (B, L, C) sees inputs t - R .. t + R of its segment, zeros outside.

    Raise ValueError if W is even, so that no step is in the middle.

    Args:
        x: (B, L, C).
        weight: (C, W); column R multiplies the present step, the columns after it the steps ahead.
        bias: (C,).
        segments: ids (B, L), never falling along a row; None: each row is one segment.
    """
    if weight.shape[1] % 2 == 0:
        raise ValueError(f"a centred convolution has an odd width, not {weight.shape[1]}")
    if backend_of("centred_convolution", x.device) == "sequential":
        return centred_convolution_sequential(x, weight, bias, segments)
    reach = weight.shape[1] // 2
    padded = functional.pad(x, (0, 0, reach, reach))
    if segments is None:
        return _depthwise(padded, weight, bias)
    ids = functional.pad(segments, (reach, reach))  # any id does there: the inputs are 0
    return _depthwise_in_segments(padded, weight, bias, ids, segments)


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


def _before(x: Tensor, width: int, initial_state: Tensor | None) -> Tensor:
    """Return x with the W - 1 inputs before it in front, (B, W - 1 + L, C)."""
    if initial_state is None:
        return functional.pad(x, (0, 0, width - 1, 0))
    return torch.cat([initial_state.to(x.dtype), x], dim=1)


def _ids_before(segments: Tensor, width: int) -> Tensor:
    """Return the ids of ``_before``: what came before the row is of its first segment, (B, W - 1 + L)."""
    return torch.cat([segments[:, :1].expand(-1, width - 1), segments], dim=1)


def _depthwise(padded: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return (B, L, C) of inputs (B, L + W - 1, C): output t sees inputs t .. t + W - 1."""
    # As an image of height 1 whose channels lie last, nothing is transposed: half the time of conv1d on a CPU.
    image = padded.transpose(1, 2)[:, :, None]  # (B, C, 1, L + W - 1)
    return functional.conv2d(image, weight[:, None, None], bias, groups=len(weight))[:, :, 0].transpose(1, 2)


def _depthwise_in_segments(padded: Tensor, weight: Tensor, bias: Tensor, ids: Tensor, segments: Tensor) -> Tensor:
    """Return the same of what is in each output's segment: a sum of W masked products.

    ``ids`` (B, L + W - 1) are the segments of the inputs, ``segments`` (B, L) those of the outputs.
    """
    L, y = segments.shape[1], bias
    for k in range(weight.shape[1]):
        place = slice(k, k + L)
        y = torch.addcmul(y, padded[:, place] * (ids[:, place] == segments)[..., None], weight[:, k])
    return y


def _beyond_kernel(x: Tensor, weight: Tensor, bias: Tensor) -> str:
    """Return in words what causal-conv1d does not take of the tensors (1.7.0: csrc/causal_conv1d.cpp, its checks)."""
    C, W = weight.shape
    if C % 8:
        return f"{C} channels: it takes multiples of 8"
    if not 2 <= W <= 4:
        return f"a convolution of width {W}: it takes 2 to 4"
    if bias.dtype != weight.dtype:
        return f"a bias of {bias.dtype} with weights of {weight.dtype}"
    return other_types(x=x, weight=weight)


def _fused(x: Tensor, weight: Tensor, bias: Tensor, segments: Tensor | None, initial_state: Tensor | None) -> Tensor:
    kernel = fused_module("causal_convolution", x.device).causal_conv1d_fn
    y: Tensor = kernel(
        _densely(x).transpose(1, 2),  # channels last, as its segments and initial state require
        weight,
        bias,
        seq_idx=None if segments is None else segments.int().contiguous(),
        initial_states=None if initial_state is None else _densely(initial_state.to(x.dtype)).transpose(1, 2),
    )
    y = y.transpose(1, 2)
    return _DenseGradient.apply(y) if y.requires_grad else y  # type: ignore[no-untyped-call]


def _densely(x: Tensor) -> Tensor:
    """Return x (B, L, C) with the strides (L C, C, 1): the kernel reads the strides of dimensions of size 1, too.

    torch calls a tensor contiguous whatever those are: a slice (1, 1, C) of a wider row stays as it is.
    """
    _, L, C = x.shape
    return x if x.stride() == (L * C, C, 1) else x.clone(memory_format=torch.contiguous_format)


class _DenseGradient(torch.autograd.Function):
    """The identity on (B, L, C), for the same sake: the kernel's backward reads the strides of the gradient."""

    @staticmethod
    def forward(ctx: FunctionCtx, y: Tensor) -> Tensor:  # noqa: ARG004 - a Function's signature
        return y.view_as(y)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return _densely(gradient)


def _last_inputs(x: Tensor, width: int, segments: Tensor | None, initial_state: Tensor | None) -> Tensor:
    L = x.shape[1]
    # Of x only its end is needed.
    last = _before(x[:, max(0, L - width + 1) :], width, initial_state)[:, 1 - width :]
    if segments is None:
        return last
    ids = _ids_before(segments, width)[:, 1 - width :]
    return last * (ids == segments[:, -1:])[..., None]

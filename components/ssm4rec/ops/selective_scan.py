"""The selective scan: the recurrence of Mamba, whose every channel decays at rates of its own.

Shapes: B batch, L length, E channels (the inner width), N state size.

For every sequence and channel, with N decays per step::

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t b_t          h_t: (N,)
    y_t = h_t . c_t

Source: Gu & Dao (2024), "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", section 3.2 (A is
discretized by zero-order hold, b by Euler's rule, as in state-spaces/mamba).
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ssm4rec.ops.backend import accepted, backend_of, fused_module, other_types


def selective_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    b: Tensor,
    c: Tensor,
    segments: Tensor | None = None,
    initial_state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Evaluate the map by the backend that ``ops.backend`` names.

    The CPU kernel computes in float32 and the CUDA kernel knows neither segments nor an initial state: what is beyond
    them takes the torch form. Raise ValueError if shapes do not fit together.

    Args:
        x: inputs, (B, L, E).
        dt: step sizes, 0 or more, (B, L, E); a step of 0 keeps the state and adds nothing.
        A: negative decay rates, (E, N).
        b: input maps shared by the channels, (B, L, N).
        c: output maps shared by the channels, (B, L, N).
        segments: ids (B, L), never falling along a row; the state is 0 at each segment's start. None: one segment.
        initial_state: before the row, of its first segment, (B, E, N); None: zeros.

    Returns:
        Outputs (B, L, E), and the state after the last position (B, E, N). Gradients flow from both; the CUDA kernel
        has none from the state, and a backward that wants one raises NotImplementedError.
    """
    check_shapes(x, dt, A, b, c, segments, initial_state)
    form: Callable[..., tuple[Tensor, Tensor]]
    match backend_of("selective_scan", x.device):
        case "sequential":
            form = selective_scan_sequential
        case "cuda_kernel" if (segments is None and initial_state is None) and accepted(
            "selective_scan", _beyond_cuda_kernel(dt, A)
        ):
            return _fused_cuda(x, dt, A, b, c)
        case "cpu_kernel" if all_float32(x, dt, A, b, c, initial_state):
            form = fused_module("selective_scan", x.device).selective_scan_native
        case _:
            form = selective_scan_torch
    return form(x, dt, A, b, c, segments, initial_state)


def selective_scan_sequential(
    x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor, segments: Tensor | None, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Evaluate the definition step by step: the reference. Args and returns: as :func:`selective_scan`."""
    B, L, _ = x.shape
    state = x.new_zeros(B, *A.shape) if initial_state is None else initial_state
    outputs = []
    for t in range(L):
        if segments is not None and t > 0:
            state = state * (segments[:, t] == segments[:, t - 1])[:, None, None]
        decay = torch.exp(torch.einsum("be,en->ben", dt[:, t], A))
        state = decay * state + torch.einsum("be,be,bn->ben", dt[:, t], x[:, t], b[:, t])
        outputs.append(torch.einsum("ben,bn->be", state, c[:, t]))
    return torch.stack(outputs, dim=1), state


def selective_scan_torch(
    x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor, segments: Tensor | None, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Evaluate the same map with few operations a step, on tensors that stay in a processor's cache.

    Exponents are never positive, so nothing overflows. Decays of many steps at once, (B, L, E, N), were measured to
    cost two to four times as much in the backward, and so does indexing a step out of a long tensor: its gradient is
    a tensor of the full length.

    Args and returns: as :func:`selective_scan`.
    """
    B, L, _ = x.shape
    state = x.new_zeros(B, *A.shape) if initial_state is None else initial_state
    # As rows and columns: each step's are (B, E, 1), (B, E, 1), (B, 1, N) and (B, N, 1).
    steps = zip(
        dt[..., None].unbind(1),
        (dt * x)[..., None].unbind(1),
        b[:, :, None].unbind(1),
        c[..., None].unbind(1),
        [None] * L if segments is None else (~segment_starts(segments))[..., None, None].unbind(1),
        strict=True,
    )
    outputs = []
    for dt_t, input_t, b_t, c_t, kept in steps:
        decay = torch.exp(dt_t * A)
        if kept is not None:
            decay = decay * kept
        state = torch.addcmul(input_t * b_t, decay, state)
        outputs.append(state @ c_t)
    return torch.stack(outputs, dim=1).squeeze(-1), state


_MOST_STATES = 256


def _beyond_cuda_kernel(dt: Tensor, A: Tensor) -> str:
    """Return in words what mamba-ssm does not take of the tensors (2.3.2: csrc/selective_scan/selective_scan.cpp)."""
    if A.shape[1] > _MOST_STATES:
        return f"a state of {A.shape[1]}: it takes at most {_MOST_STATES}"
    return other_types(dt=dt, A=A)


def _fused_cuda(x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    kernel = fused_module("selective_scan", x.device).selective_scan_fn
    # Channels and states before time, all of one type; under autocast dt is what stays exact.
    x, dt, b, c = (tensor.to(dt.dtype).transpose(1, 2) for tensor in (x, dt, b, c))
    y, state = kernel(x, dt, A.float(), b, c, return_last_state=True)
    if state.requires_grad:
        state.register_hook(_refuse)  # the kernel's backward passes over it in silence
    return y.transpose(1, 2), state


def _refuse(gradient: Tensor | None) -> None:
    if gradient is not None:
        raise NotImplementedError("mamba-ssm has no gradient from the last state of its scan: choose the torch form")


def segment_starts(segments: Tensor) -> Tensor:
    """Return where a segment (ids (B, L), never falling) starts that is not the row's first, (B, L) of bool."""
    return functional.pad(segments.diff(dim=1) != 0, (1, 0))


def all_float32(*tensors: Tensor | None) -> bool:
    """Return whether all that is there has the one type that the CPU kernel computes in."""
    return all(tensor is None or tensor.dtype == torch.float32 for tensor in tensors)


def check_shapes(
    x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor, segments: Tensor | None, initial_state: Tensor | None
) -> None:
    """Raise ValueError for shapes that broadcasting would let pass, and a kernel would read past."""
    B, L, E = x.shape
    N = b.shape[-1]
    expected = {
        "dt": (dt, (B, L, E)),
        "A": (A, (E, N)),
        "b": (b, (B, L, N)),
        "c": (c, (B, L, N)),
        "segments": (segments, (B, L)),
        "initial_state": (initial_state, (B, E, N)),
    }
    for name, (tensor, shape) in expected.items():
        if tensor is not None and tensor.shape != shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}, not {shape}, for x of {tuple(x.shape)}")

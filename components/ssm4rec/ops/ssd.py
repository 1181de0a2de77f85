"""State-space duality (SSD): the scan of Mamba-2, as a recurrence and as chunked matrix products.

Shapes: B batch, L length, H heads, P head width, N state size, Q chunk length, K = L / Q chunks.

For every sequence and head, with a scalar decay per step::

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t b_t^T        h_t: (P, N)
    y_t = h_t c_t

Source: Dao & Gu (2024), "Transformers are SSMs", section 6 (the block decomposition).
"""

import torch
from torch import Tensor
from torch.nn import functional

from ssm4rec.ops.backend import accepted, backend_of, fused_module, other_types
from ssm4rec.ops.selective_scan import all_float32, check_shapes

_FUSED_CHUNK = 128
"""Chunk length of the CUDA kernel: its tiles want powers of two, of 64 and more."""


def ssd(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    b: Tensor,
    c: Tensor,
    segments: Tensor | None = None,
    initial_state: Tensor | None = None,
    chunk_size: int = 32,
) -> tuple[Tensor, Tensor]:
    """Evaluate the map by the backend that ``ops.backend`` names.

    The CPU kernel computes in float32: anything else takes the torch form.

    Args:
        x: inputs, (B, L, H, P).
        dt: step sizes, 0 or more, (B, L, H); a step of 0 keeps the state and adds nothing.
        A: negative decay rates, (H,).
        b: input maps shared by the heads, (B, L, N).
        c: output maps shared by the heads, (B, L, N).
        segments: ids (B, L), never falling along a row; the state is 0 at each segment's start. None: one segment.
        initial_state: before the row, of its first segment, (B, H, P, N); None: zeros.
        chunk_size: the most that Q is in the torch form; changes its speed, not its result.

    Returns:
        Outputs (B, L, H, P), and the state after the last position (B, H, P, N).
    """
    match backend_of("ssd", x.device):
        case "sequential":
            return ssd_sequential(x, dt, A, b, c, segments, initial_state)
        case "cuda_kernel" if accepted("ssd", other_types(x=x, dt=dt, A=A, b=b, c=c, initial_state=initial_state)):
            return _ssd_cuda(x, dt, A, b, c, segments, initial_state)
        case "cpu_kernel" if all_float32(x, dt, A, b, c, initial_state):
            return _ssd_cpu(x, dt, A, b, c, segments, initial_state)
        case _:
            return ssd_chunked(x, dt, A, b, c, segments, initial_state, chunk_size)


def ssd_sequential(
    x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor, segments: Tensor | None, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Evaluate the recurrence step by step: the reference for every other form. Args and returns: as :func:`ssd`."""
    B, L, H, P = x.shape
    state = x.new_zeros(B, H, P, b.shape[-1]) if initial_state is None else initial_state
    outputs = []
    for t in range(L):
        if segments is not None and t > 0:
            state = state * (segments[:, t] == segments[:, t - 1])[:, None, None, None]
        decay = torch.exp(dt[:, t] * A)  # (B, H)
        update = torch.einsum("bh,bhp,bn->bhpn", dt[:, t], x[:, t], b[:, t])
        state = decay[..., None, None] * state + update
        outputs.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]))
    return torch.stack(outputs, dim=1), state


def ssd_chunked(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    b: Tensor,
    c: Tensor,
    segments: Tensor | None = None,
    initial_state: Tensor | None = None,
    chunk_size: int = 32,
) -> tuple[Tensor, Tensor]:
    """Evaluate the same map with matrix products only. Args and returns: as :func:`ssd`.

    Inside a chunk the map is a masked (Q, Q) matrix, as in attention; between chunks only the state is carried.
    Work grows linearly with L: per token H (Q P + 2 P N) + Q N multiplications.
    """
    B, L, H, P = x.shape
    Q = -(-L // -(-L // chunk_size))  # as many chunks, of (almost) equal length: the least padding
    padding = -L % Q
    if padding:  # steps of dt = 0, of the last segment
        x = functional.pad(x, (0, 0, 0, 0, 0, padding))
        dt, b, c = (functional.pad(tensor, (0, 0, 0, padding)) for tensor in (dt, b, c))
        if segments is not None:
            segments = torch.cat([segments, segments[:, -1:].expand(-1, padding)], dim=1)
    K = (L + padding) // Q

    # 1. Into chunks, heads before time.
    x = (x * dt[..., None]).view(B, K, Q, H, P).transpose(2, 3)  # (B, K, H, Q, P)
    b, c = b.view(B, K, Q, -1), c.view(B, K, Q, -1)  # (B, K, Q, N)
    log_decay = (dt * A).view(B, K, Q, H).transpose(2, 3).cumsum(-1)  # (B, K, H, Q), from the chunk's start
    if segments is not None:
        ids = segments.view(B, K, 1, Q)
        entering = torch.cat([ids[:, :1, :, :1], ids[:, :-1, :, -1:]], dim=1)  # (B, K, 1, 1): at each chunk's start

    # 2. Inside each chunk: y_i = sum over j <= i of exp(decay from j to i) (c_i . b_j) dt_j x_j.
    span = log_decay[..., :, None] - log_decay[..., None, :]  # (B, K, H, Q, Q)
    absent = torch.ones(Q, Q, dtype=torch.bool, device=x.device).triu(1)  # the future
    if segments is not None:
        absent = absent | (ids[..., :, None] != ids[..., None, :])
    # Masked before exp: above the diagonal the exponent is positive and could overflow.
    mixer = torch.exp(span.masked_fill(absent, -torch.inf)) * (c @ b.transpose(-1, -2))[:, :, None]
    y = mixer @ x  # (B, K, H, Q, P)

    # 3. What each chunk adds to the state by its end.
    to_end = torch.exp(log_decay[..., -1:] - log_decay)  # (B, K, H, Q)
    chunk_decay = torch.exp(log_decay[..., -1])[..., None, None]  # (B, K, H, 1, 1)
    if segments is not None:
        to_end = to_end * (ids == ids[..., -1:])
        chunk_decay = chunk_decay * (ids[..., -1:] == entering)[..., None]
    added = (x * to_end[..., None]).transpose(-1, -2) @ b[:, :, None]  # (B, K, H, P, N)

    # 4. The state at each chunk's start: a recurrence over K chunks.
    state = torch.zeros_like(added[:, 0]) if initial_state is None else initial_state.to(added.dtype)
    if K == 1 and initial_state is None:
        return y.squeeze(1).transpose(1, 2)[:, :L], added.squeeze(1)
    states = []
    # Unbound first: the gradient of an index is as large as what it was taken from.
    for decay, more in zip(chunk_decay.unbind(1), added.unbind(1), strict=True):
        states.append(state)
        state = decay * state + more
    start = torch.stack(states, dim=1)  # (B, K, H, P, N)

    # 5. What the state at the start gives to each step.
    from_start = torch.exp(log_decay)
    if segments is not None:
        from_start = from_start * (ids == entering)
    carried = (c[:, :, None] @ start.transpose(-1, -2)) * from_start[..., None]  # (B, K, H, Q, P)
    return (y + carried).transpose(2, 3).reshape(B, K * Q, H, P)[:, :L], state


def _ssd_cuda(
    x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor, segments: Tensor | None, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    kernel = fused_module("ssd", x.device).mamba_chunk_scan_combined
    # The kernel gives the initial state to id 0.
    ids = None if segments is None else (segments - segments[:, :1]).int().contiguous()
    y, state = kernel(
        x, dt, A, b[:, :, None], c[:, :, None], _FUSED_CHUNK,
        initial_states=initial_state, seq_idx=ids, return_final_states=True,
    )  # fmt: skip
    return y, state


def _ssd_cpu(
    x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor, segments: Tensor | None, initial_state: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Evaluate it as the selective scan of E = H P channels whose states each decay as one."""
    B, L, H, P = x.shape
    channels = x.flatten(2)
    steps = dt[..., None].expand(B, L, H, P).reshape(B, L, H * P)
    rates = A[:, None].expand(H, P).reshape(H * P, 1)
    initial = None if initial_state is None else initial_state.flatten(1, 2)
    check_shapes(channels, steps, rates.expand(H * P, b.shape[-1]), b, c, segments, initial)
    kernel = fused_module("ssd", x.device).selective_scan_native
    y, state = kernel(channels, steps, rates, b, c, segments, initial)
    return y.view(B, L, H, P), state.view(B, H, P, -1)

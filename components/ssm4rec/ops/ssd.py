"""State-space duality (SSD): the scan of Mamba-2, as a recurrence and as chunked matrix products.

Shapes: B batch, L length, H heads, P head width, N state size, Q chunk length, K = L / Q chunks.

For every sequence and head, with a scalar decay per step::

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t b_t^T        h_t: (P, N), h_0 = 0
    y_t = h_t c_t

Source: Dao & Gu (2024), "Transformers are SSMs", section 6 (the block decomposition).
"""

import torch
from torch import Tensor
from torch.nn import functional


def ssd_sequential(x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Evaluate the recurrence step by step: the reference for every other form.

    Args:
        x: inputs, (B, L, H, P).
        dt: positive step sizes, (B, L, H).
        A: negative decay rates, (H,).
        b: input maps shared by the heads, (B, L, N).
        c: output maps shared by the heads, (B, L, N).

    Returns:
        Outputs, (B, L, H, P).
    """
    B, L, H, P = x.shape
    state = x.new_zeros(B, H, P, b.shape[-1])
    outputs = []
    for t in range(L):
        decay = torch.exp(dt[:, t] * A)  # (B, H)
        update = torch.einsum("bh,bhp,bn->bhpn", dt[:, t], x[:, t], b[:, t])
        state = decay[..., None, None] * state + update
        outputs.append(torch.einsum("bhpn,bn->bhp", state, c[:, t]))
    return torch.stack(outputs, dim=1)


def ssd_chunked(x: Tensor, dt: Tensor, A: Tensor, b: Tensor, c: Tensor, chunk_length: int = 32) -> Tensor:
    """Evaluate the same map as :func:`ssd_sequential` with matrix products only.

    Inside a chunk the map is a masked (Q, Q) matrix, as in attention; between chunks only the state is carried.
    Work grows linearly with L: per token H (Q P + 2 P N) + Q N multiplications.

    Args and returns: as :func:`ssd_sequential`. ``chunk_length`` is Q.
    """
    B, L, H, P = x.shape
    Q = min(chunk_length, L)
    padding = -L % Q
    if padding:  # a step with dt = 0 keeps the state and adds nothing
        x = functional.pad(x, (0, 0, 0, 0, 0, padding))
        dt, b, c = (functional.pad(tensor, (0, 0, 0, padding)) for tensor in (dt, b, c))
    K = (L + padding) // Q

    # 1. Into chunks, heads before time.
    x = (x * dt[..., None]).view(B, K, Q, H, P).transpose(2, 3)  # (B, K, H, Q, P)
    b, c = b.view(B, K, Q, -1), c.view(B, K, Q, -1)  # (B, K, Q, N)
    log_decay = (dt * A).view(B, K, Q, H).transpose(2, 3).cumsum(-1)  # (B, K, H, Q), from the chunk's start

    # 2. Inside each chunk: y_i = sum over j <= i of exp(decay from j to i) (c_i . b_j) dt_j x_j.
    span = log_decay[..., :, None] - log_decay[..., None, :]  # (B, K, H, Q, Q)
    future = torch.ones(Q, Q, dtype=torch.bool, device=x.device).triu(1)
    # Masked before exp: above the diagonal the exponent is positive and could overflow.
    mixer = torch.exp(span.masked_fill(future, -torch.inf)) * (c @ b.transpose(-1, -2))[:, :, None]
    y = mixer @ x  # (B, K, H, Q, P)
    if K == 1:
        return y.squeeze(1).transpose(1, 2)[:, :L]

    # 3. What each chunk adds to the state by its end.
    to_end = torch.exp(log_decay[..., -1:] - log_decay)  # (B, K, H, Q)
    added = (x * to_end[..., None]).transpose(-1, -2) @ b[:, :, None]  # (B, K, H, P, N)

    # 4. The state at each chunk's start: a recurrence over K chunks.
    chunk_decay = torch.exp(log_decay[..., -1])[..., None, None]  # (B, K, H, 1, 1)
    state = torch.zeros_like(added[:, 0])
    states = []
    for k in range(K):
        states.append(state)
        state = chunk_decay[:, k] * state + added[:, k]
    start = torch.stack(states, dim=1)  # (B, K, H, P, N)

    # 5. What the state at the start gives to each step.
    carried = (c[:, :, None] @ start.transpose(-1, -2)) * torch.exp(log_decay)[..., None]  # (B, K, H, Q, P)
    return (y + carried).transpose(2, 3).reshape(B, K * Q, H, P)[:, :L]

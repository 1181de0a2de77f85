"""The Mamba-2 block: projections, short convolution, SSD scan, gated normalization.

Dao & Gu (2024), section 7; the reference module is state-spaces/mamba:mamba_ssm/modules/mamba2.py, whose parameters
(``_`` for the dot of ``conv1d.weight``), initial values and order of operations are kept (one group of b and c, RMSNorm
after the gate).

Shapes: B batch, L length, D width, E = expand x D inner width, H = E / P heads of width P, N state size, W kernel
width, C = E + 2 N channels of the convolution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.mixer import Memory, initial_convolution, initial_dt_bias, inputs_before, last_alone, valid_mask
from ssm4rec.ops.convolution import causal_convolution
from ssm4rec.ops.ssd import ssd


@dataclass(frozen=True)
class Mamba2Config:
    """Sizes of a Mamba-2 block; ``chunk_size`` changes its speed, not its result."""

    d_state: int
    headdim: int
    d_conv: int
    expand: int
    chunk_size: int

    def __post_init__(self) -> None:
        if min(self.d_state, self.headdim, self.d_conv, self.expand, self.chunk_size) < 1:
            raise ValueError("d_state, headdim, d_conv, expand and chunk_size are at least 1")

    def check_heads(self, d_model: int) -> None:
        """Raise ValueError if heads do not fill the inner width E of a model of width D."""
        if self.expand * d_model % self.headdim:
            raise ValueError(f"inner width {self.expand} x {d_model} is not a multiple of headdim {self.headdim}")


class Mamba2(nn.Module):
    """Mix a sequence (B, L, D) causally, in time linear in L."""

    def __init__(self, config: Mamba2Config, d_model: int) -> None:
        super().__init__()
        self.config = config
        config.check_heads(d_model)
        inner = config.expand * d_model
        self.inner = inner
        self.n_heads = inner // config.headdim
        mixed = inner + 2 * config.d_state  # what passes the convolution: x, b and c
        self.in_proj = nn.Linear(d_model, inner + mixed + self.n_heads, bias=False)
        self.conv1d_weight, self.conv1d_bias = initial_convolution(mixed, config.d_conv)
        self.dt_bias = nn.Parameter(initial_dt_bias(self.n_heads))
        self.A_log = nn.Parameter(torch.log(torch.empty(self.n_heads).uniform_(1, 16)))
        self.D = nn.Parameter(torch.ones(self.n_heads))
        self.norm_weight = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(
        self,
        x: Tensor,
        segments: Tensor | None = None,
        state: Memory | None = None,
        lengths: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> tuple[Tensor, Memory]:
        """Return the mixed sequence (B, L, D) and the state: (B, W - 1, C) and (B, H, P, N); see ``mixer.py``."""
        B, L, _ = x.shape
        N, P = self.config.d_state, self.config.headdim
        recent, memory = state or (None, None)
        gate, mixed, dt = torch.split(self.in_proj(x), [self.inner, self.inner + 2 * N, self.n_heads], dim=-1)
        convolved, last = causal_convolution(mixed, self.conv1d_weight, self.conv1d_bias, segments, recent)
        x, b, c = torch.split(functional.silu(convolved), [self.inner, N, N], dim=-1)
        x = x.reshape(B, L, self.n_heads, P)
        dt = functional.softplus(dt + self.dt_bias)  # (B, L, H)
        if lengths is not None:
            dt = dt * valid_mask(lengths, L)[..., None]
            last = inputs_before(mixed, lengths, recent, self.config.d_conv - 1)
        y, memory = ssd(x, dt, -torch.exp(self.A_log), b, c, segments, memory, self.config.chunk_size)
        if ends is not None:
            y, x, gate = (last_alone(tensor, ends) for tensor in (y, x, gate))
        y = (y + self.D[:, None] * x).flatten(2)
        y = functional.rms_norm(y * functional.silu(gate), (self.inner,), self.norm_weight, eps=1e-5)
        return self.out_proj(y), (last, memory)

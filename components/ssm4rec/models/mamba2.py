"""The Mamba-2 block: projections, short convolution, SSD scan, gated normalization.

Dao & Gu (2024), section 7; the reference module is state-spaces/mamba:mamba_ssm/modules/mamba2.py, whose parameters,
initial values and order of operations are kept (one group of b and c, RMSNorm after the gate).

Shapes: B batch, L length, D width, E = expand x D inner width, H = E / P heads of width P, N state size.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.ops.convolution import causal_convolution
from ssm4rec.ops.ssd import ssd_chunked


@dataclass(frozen=True)
class Mamba2Config:
    """Sizes of a Mamba-2 block; ``chunk_length`` changes its speed, not its result."""

    state_size: int
    head_width: int
    convolution_width: int
    expand: int
    chunk_length: int


class Mamba2(nn.Module):
    """Mix a sequence (B, L, D) causally, in time linear in L."""

    def __init__(self, config: Mamba2Config, width: int) -> None:
        super().__init__()
        self.config = config
        inner = config.expand * width
        self.inner = inner
        self.heads = inner // config.head_width
        mixed = inner + 2 * config.state_size  # what passes the convolution: x, b and c
        self.project_in = nn.Linear(width, inner + mixed + self.heads, bias=False)
        bound = config.convolution_width**-0.5  # torch's default for a depthwise convolution
        self.convolution_weight = nn.Parameter(torch.empty(mixed, config.convolution_width).uniform_(-bound, bound))
        self.convolution_bias = nn.Parameter(torch.empty(mixed).uniform_(-bound, bound))
        # softplus(dt_bias) is log-uniform in [0.001, 0.1], the decay rates uniform in [1, 16].
        dt = torch.exp(torch.empty(self.heads).uniform_(math.log(1e-3), math.log(1e-1))).clamp(min=1e-4)
        self.dt_bias = nn.Parameter(dt + torch.log(-torch.expm1(-dt)))
        self.log_decay_rate = nn.Parameter(torch.log(torch.empty(self.heads).uniform_(1, 16)))
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm_weight = nn.Parameter(torch.ones(inner))
        self.project_out = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the mixed sequence (B, L, D)."""
        B, L, _ = x.shape
        N, P = self.config.state_size, self.config.head_width
        gate, mixed, dt = torch.split(self.project_in(x), [self.inner, self.inner + 2 * N, self.heads], dim=-1)
        mixed = functional.silu(causal_convolution(mixed, self.convolution_weight, self.convolution_bias))
        x, b, c = torch.split(mixed, [self.inner, N, N], dim=-1)
        x = x.reshape(B, L, self.heads, P)
        dt = functional.softplus(dt + self.dt_bias)  # (B, L, H)
        y = ssd_chunked(x, dt, -torch.exp(self.log_decay_rate), b, c, self.config.chunk_length)
        y = (y + self.skip[:, None] * x).reshape(B, L, self.inner)
        y = functional.rms_norm(y * functional.silu(gate), (self.inner,), self.norm_weight, eps=1e-5)
        out: Tensor = self.project_out(y)
        return out

"""The Mamba-2 block: projections, short convolution, SSD scan, gated normalization.

Dao & Gu (2024), section 7; the reference module is state-spaces/mamba:mamba_ssm/modules/mamba2.py, whose parameters,
initial values and order of operations are kept (one group of b and c, RMSNorm after the gate).

Shapes: B batch, L length, D width, E = expand x D inner width, H = E / P heads of width P, N state size, W kernel
width, C = E + 2 N channels of the convolution.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.mixer import MixerState, initial_convolution, initial_dt_bias, inputs_before, inside, last_alone
from ssm4rec.ops.convolution import causal_convolution
from ssm4rec.ops.ssd import ssd


@dataclass(frozen=True)
class Mamba2Config:
    """Sizes of a Mamba-2 block; ``chunk_length`` changes its speed, not its result."""

    state_size: int
    head_width: int
    convolution_width: int
    expand: int
    chunk_length: int

    def __post_init__(self) -> None:
        if min(self.state_size, self.head_width, self.convolution_width, self.expand, self.chunk_length) < 1:
            raise ValueError("state_size, head_width, convolution_width, expand and chunk_length are at least 1")

    def check_width(self, width: int) -> None:
        """Raise ValueError if the heads do not divide the inner width of a model of width D."""
        if self.expand * width % self.head_width:
            raise ValueError(f"inner width {self.expand} x {width} is no multiple of head_width {self.head_width}")


class Mamba2(nn.Module):
    """Mix a sequence (B, L, D) causally, in time linear in L."""

    def __init__(self, config: Mamba2Config, width: int) -> None:
        super().__init__()
        self.config = config
        config.check_width(width)
        inner = config.expand * width
        self.inner = inner
        self.heads = inner // config.head_width
        mixed = inner + 2 * config.state_size  # what passes the convolution: x, b and c
        self.project_in = nn.Linear(width, inner + mixed + self.heads, bias=False)
        weight, bias = initial_convolution(mixed, config.convolution_width)
        self.convolution_weight, self.convolution_bias = nn.Parameter(weight), nn.Parameter(bias)
        self.dt_bias = nn.Parameter(initial_dt_bias(self.heads))
        self.log_decay_rate = nn.Parameter(torch.log(torch.empty(self.heads).uniform_(1, 16)))
        self.skip = nn.Parameter(torch.ones(self.heads))
        self.norm_weight = nn.Parameter(torch.ones(inner))
        self.project_out = nn.Linear(inner, width, bias=False)

    def forward(
        self,
        x: Tensor,
        segments: Tensor | None = None,
        state: MixerState | None = None,
        lengths: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> tuple[Tensor, MixerState]:
        """Return the mixed sequence (B, L, D) and the state: (B, W - 1, C) and (B, H, P, N); see ``mixer.py``."""
        B, L, _ = x.shape
        N, P = self.config.state_size, self.config.head_width
        recent, memory = state or (None, None)
        gate, mixed, dt = torch.split(self.project_in(x), [self.inner, self.inner + 2 * N, self.heads], dim=-1)
        convolved, last = causal_convolution(mixed, self.convolution_weight, self.convolution_bias, segments, recent)
        x, b, c = torch.split(functional.silu(convolved), [self.inner, N, N], dim=-1)
        x = x.reshape(B, L, self.heads, P)
        dt = functional.softplus(dt + self.dt_bias)  # (B, L, H)
        if lengths is not None:
            dt = dt * inside(lengths, L)[..., None]
            last = inputs_before(mixed, lengths, recent, self.config.convolution_width - 1)
        y, memory = ssd(x, dt, -torch.exp(self.log_decay_rate), b, c, segments, memory, self.config.chunk_length)
        if ends is not None:
            y, x, gate = (last_alone(tensor, ends) for tensor in (y, x, gate))
        y = (y + self.skip[:, None] * x).flatten(2)
        y = functional.rms_norm(y * functional.silu(gate), (self.inner,), self.norm_weight, eps=1e-5)
        return self.project_out(y), (last, memory)

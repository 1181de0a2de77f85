"""The Mamba block: projections, short convolution, selective scan, gate.

Gu & Dao (2024), section 3.4; the reference module is state-spaces/mamba:mamba_ssm/modules/mamba_simple.py, whose
parameters (``_`` for the dot of ``conv1d.weight``) and order of operations are kept.

Shapes: B batch, L length, D width, E = expand x D inner width, N state size, R rank of the step sizes, W kernel width.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.item_vectors import INITIAL_DEVIATION
from ssm4rec.models.mixer import Memory, initial_convolution, initial_dt_bias, inputs_before, last_alone, valid_mask
from ssm4rec.ops.convolution import causal_convolution
from ssm4rec.ops.selective_scan import selective_scan


@dataclass(frozen=True)
class MambaConfig:
    """Sizes of a Mamba block, and how the projection to step sizes starts (``init``).

    ``mamba``: weights uniform in R^-1/2 [-1, 1], biases such that steps start log-uniform in [0.001, 0.1], as the
    reference module does; ``paper``: weights from N(0, 0.02) and no bias, so that steps start near log 2 = 0.69, which
    is what the public Mamba4Rec trains: it draws every linear layer again after the block.
    """

    d_state: int  # N
    d_conv: int  # W, at least 2
    expand: int  # E / D
    dt_rank: int  # R; 0: D / 16, rounded up
    init: Literal["paper", "mamba"]

    def __post_init__(self) -> None:
        if self.init not in ("paper", "mamba"):
            raise ValueError(f"init {self.init!r} is unknown; choose from paper, mamba")
        if self.d_conv < 2 or min(self.d_state, self.expand) < 1 or self.dt_rank < 0:
            raise ValueError("d_state and expand are at least 1, d_conv 2, dt_rank 0")


class Mamba(nn.Module):
    """Mix a sequence (B, L, D) causally, in time linear in L."""

    def __init__(self, config: MambaConfig, d_model: int) -> None:
        super().__init__()
        self.config = config
        inner = config.expand * d_model
        self.rank = config.dt_rank or math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * inner, bias=False)
        self.conv1d_weight, self.conv1d_bias = initial_convolution(inner, config.d_conv)
        self.x_proj = nn.Linear(inner, self.rank + 2 * config.d_state, bias=False)
        # Not an nn.Linear: a shell that initializes those must not decide how the steps start.
        weight, bias = torch.empty(inner, self.rank), torch.zeros(inner)
        if config.init == "mamba":
            weight.uniform_(-(self.rank**-0.5), self.rank**-0.5)
            bias = initial_dt_bias(inner)
        else:
            weight.normal_(std=INITIAL_DEVIATION)
        self.dt_proj_weight = nn.Parameter(weight)
        self.dt_bias = nn.Parameter(bias)
        rates = torch.arange(1, config.d_state + 1, dtype=weight.dtype)  # S4D-real
        self.A_log = nn.Parameter(torch.log(rates).repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(
        self,
        x: Tensor,
        segments: Tensor | None = None,
        state: Memory | None = None,
        lengths: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> tuple[Tensor, Memory]:
        """Return the mixed sequence (B, L, D) and the state: (B, W - 1, E) and (B, E, N); see ``mixer.py``."""
        N = self.config.d_state
        recent, memory = state or (None, None)
        inputs, gate = self.in_proj(x).chunk(2, dim=-1)  # (B, L, E) each
        convolved, last = causal_convolution(inputs, self.conv1d_weight, self.conv1d_bias, segments, recent)
        x = functional.silu(convolved)
        dt, b, c = torch.split(self.x_proj(x), [self.rank, N, N], dim=-1)
        dt = functional.softplus(functional.linear(dt, self.dt_proj_weight, self.dt_bias))  # (B, L, E)
        if lengths is not None:
            dt = dt * valid_mask(lengths, x.shape[1])[..., None]
            last = inputs_before(inputs, lengths, recent, self.config.d_conv - 1)
        y, memory = selective_scan(x, dt, -torch.exp(self.A_log), b, c, segments, memory)
        if ends is not None:
            y, x, gate = (last_alone(tensor, ends) for tensor in (y, x, gate))
        y = (y + self.D * x) * functional.silu(gate)
        return self.out_proj(y), (last, memory)

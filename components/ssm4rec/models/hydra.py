"""The Hydra block: the bidirectional counterpart of Mamba-2.

Hwang et al. (2024), "Hydra: Bidirectional State Space Models Through Generalized Matrix Mixers"; the reference module
is goombalab/hydra:hydra/modules/hydra.py, whose parameters, initial values and order of operations are kept (one group
of b and c). Per head the sequence is multiplied by a quasiseparable matrix: below the diagonal an SSD of the steps
before, above it an SSD of the steps after, both one step late, so that only the diagonal sees the step itself::

    y_t = sum over s < t of exp(A (dt_{s+1} + ... + dt_{t-1})) (c_{t-1} . b_s) dt_s x_s      b, c, dt forward
        + sum over s > t of exp(A (dt_{t+1} + ... + dt_{s-1})) (c_{t+1} . b_s) dt_s x_s      b, c, dt backward
        + (fc(x_t) + D) x_t

Shapes: B batch, L length, D width, E = expand x D inner width, H = E / P heads of width P, N state size, C = E + 4 N
channels of the convolution, W its width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.mamba2 import Mamba2Config
from ssm4rec.models.mixer import initial_convolution, initial_dt_bias, last_alone
from ssm4rec.ops.convolution import centred_convolution
from ssm4rec.ops.ssd import ssd


@dataclass(frozen=True)
class HydraConfig(Mamba2Config):
    """Sizes of a Hydra block: those of a Mamba-2 block, with an odd d_conv."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.d_conv % 2 == 0:
            raise ValueError(f"d_conv {self.d_conv} is even: a centred one is odd")


class Hydra(nn.Module):
    """Mix a sequence (B, L, D) in both directions, in time linear in L."""

    def __init__(self, config: HydraConfig, d_model: int) -> None:
        super().__init__()
        self.config = config
        config.check_heads(d_model)
        inner = config.expand * d_model
        self.inner = inner
        self.n_heads = inner // config.headdim
        mixed = inner + 4 * config.d_state  # what passes the convolution: x, b and c forward, b and c backward
        self.in_proj = nn.Linear(d_model, inner + mixed + 2 * self.n_heads, bias=False)
        self.conv1d_weight, self.conv1d_bias = initial_convolution(mixed, config.d_conv)
        self.dt_bias = nn.Parameter(initial_dt_bias(self.n_heads))  # of both directions, as is the decay rate
        self.A_log = nn.Parameter(torch.zeros(self.n_heads))
        self.fc_D = nn.Linear(inner, self.n_heads, bias=False)
        self.D = nn.Parameter(torch.ones(self.n_heads))
        self.norm_weight = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, d_model, bias=False)

    def forward(
        self, x: Tensor, present: Tensor, segments: Tensor | None = None, lengths: Tensor | None = None
    ) -> Tensor:
        """Return the mixed sequence (B, L, D), 0 where nothing is present; with ``lengths`` its last positions alone.

        Args:
            x: (B, L, D).
            present: where a position is real, (B, L) of bool. What stands elsewhere changes no real position, nor does
                how much of it stands before the first or after the last one.
            segments: ids (B, L) of several sequences in a row, never falling; None: each row is one sequence.
            lengths: (B,), of rows padded on the right: the result is that at each row's last real position, (B, 1, D).
        """
        B, L, _ = x.shape
        N, H, P = self.config.d_state, self.n_heads, self.config.headdim
        # No projection has a bias: what is 0 here is 0 in the convolution and behind the gate.
        projected = self.in_proj(x.masked_fill(~present[..., None], 0))
        gate, mixed, dt = torch.split(projected, [self.inner, self.inner + 4 * N, 2 * H], dim=-1)
        convolved = centred_convolution(mixed, self.conv1d_weight, self.conv1d_bias, segments)
        x, forward_maps, backward_maps = torch.split(functional.silu(convolved), [self.inner, 2 * N, 2 * N], dim=-1)
        # A step of 0 keeps x, b and c, which the biases made something again, out of the state.
        dt = functional.softplus(dt.view(B, L, 2, H) + self.dt_bias) * present[..., None, None]  # (B, L, 2, H)
        late_dt = _late(dt[:, :, 0], dt[:, :, 1])  # (2 B, L, H)
        late_b, late_c = _late(forward_maps, backward_maps).chunk(2, dim=-1)  # (2 B, L, N) each
        late_x = _late(x, x).view(2 * B, L, H, P)
        if segments is not None:
            segments = torch.stack([segments, segments[:, -1:] - segments.flip(1)], dim=1).flatten(0, 1)
            starts = functional.pad(segments.diff(dim=1), (1, 0)) != 0  # where the late step is of the segment before
            late_dt = late_dt.masked_fill(starts[..., None], 0)
        A = -torch.exp(self.A_log)
        y, _ = ssd(late_x, late_dt, A, late_b, late_c, segments, chunk_size=self.config.chunk_size)
        y_forward, y_backward = y.view(B, 2, L, H, P).unbind(1)
        y_backward = y_backward.flip(1)
        if lengths is not None:
            y_forward, y_backward, x, gate = (
                last_alone(tensor, lengths) for tensor in (y_forward, y_backward, x, gate)
            )
        diagonal = self.fc_D(x) + self.D  # (B, L, H)
        y = torch.addcmul(y_forward + y_backward, x.view(B, -1, H, P), diagonal[..., None]).flatten(2)
        y = functional.rms_norm(y, (self.inner,), self.norm_weight, eps=1e-5)
        out: Tensor = self.out_proj(y * functional.silu(gate))
        return out


def _late(forward: Tensor, backward: Tensor) -> Tensor:
    """Return both directions one step late, (2 B, L, C) of two (B, L, C).

    Row 2 i is ``forward`` of sequence i, row 2 i + 1 its ``backward`` flipped; each begins with a 0 and lacks its last
    step. Making the inputs of the SSD late rather than its outputs costs only the flip.
    """
    B, L, C = forward.shape
    zero = forward.new_zeros(B, 1, C)
    both = torch.cat([zero, forward[:, :-1], zero, backward[:, 1:].flip(1)], dim=1)
    return both.view(2 * B, L, C)

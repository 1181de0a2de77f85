"""The Mamba4Rec shell around a sequence mixer; with a Mamba-2 block in it, it is 2Mamba4Rec.

Liu et al. (2024), chengkai-liu/Mamba4Rec:mamba4rec.py: item embedding (no positions: the mixer is recurrent) ->
dropout -> LayerNorm -> layers of [mixer -> LN(drop(h)), plus the residual when there is more than one layer ->
position-wise feed-forward: LN(x + drop(W2 drop(gelu(W1 x))))] -> tied output.

Shapes: B batch, L length, D width.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.mamba2 import Mamba2, Mamba2Config
from ssm4rec.models.recommender import Recommender, check_sizes, initialize, item_embedding


@dataclass(frozen=True)
class Mamba4RecConfig:
    """Sizes of the shell, and the mixer in it; ``maximum_length`` is the longest history read, in items."""

    maximum_length: int
    width: int
    layers: int
    inner_width: int
    dropout: float
    mixer: Mamba2Config

    def __post_init__(self) -> None:
        if self.mixer.expand * self.width % self.mixer.head_width:
            raise ValueError(
                f"inner width {self.mixer.expand} x {self.width} is no multiple of head_width {self.mixer.head_width}"
            )
        check_sizes(self.maximum_length, self.layers, self.inner_width, self.dropout)


class Mamba4Rec(Recommender):
    """Items (B, L) to hidden states (B, L, D) through recurrent mixers."""

    def __init__(self, config: Mamba4RecConfig, item_count: int) -> None:
        super().__init__()
        self.config = config
        self.maximum_length = config.maximum_length
        self.item_embedding = item_embedding(item_count, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.apply(initialize)

    def forward(self, items: Tensor) -> Tensor:
        """Return hidden states (B, L, D) for items (B, L)."""
        x: Tensor = self.norm(self.dropout(self.item_embedding(items)))
        for layer in self.layers:
            x = layer(x)
        return x


class _Layer(nn.Module):
    """A mixer and a position-wise feed-forward."""

    def __init__(self, config: Mamba4RecConfig) -> None:
        super().__init__()
        self.residual = config.layers > 1
        self.mixer = Mamba2(config.mixer, config.width)
        self.mixer_norm = nn.LayerNorm(config.width, eps=1e-12)
        self.expand = nn.Linear(config.width, config.inner_width)
        self.contract = nn.Linear(config.inner_width, config.width)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:  # (B, L, D)
        mixed = self.dropout(self.mixer(x))
        x = self.mixer_norm(mixed + x if self.residual else mixed)
        inner = self.dropout(functional.gelu(self.expand(x)))
        out: Tensor = self.feed_forward_norm(x + self.dropout(self.contract(inner)))
        return out

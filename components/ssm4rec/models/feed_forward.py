"""What follows the mixer in a layer of Mamba4Rec, Hydra4Rec and LRURec: the same in all three."""

from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.mixer import last_alone
from ssm4rec.models.sizes import RecommenderConfig


class FeedForward(nn.Module):
    """LN(x + drop(W2 drop(gelu(W1 x + b1)) + b2)), as in Liu et al. (2024), "PFFN"."""

    def __init__(self, config: RecommenderConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.d_model, config.d_ff)
        self.contract = nn.Linear(config.d_ff, config.d_model)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) for x (..., D)."""
        inner = self.dropout(functional.gelu(self.expand(x)))
        out: Tensor = self.norm(x + self.dropout(self.contract(inner)))
        return out


class AfterMixer(nn.Module):
    """LN(drop(h)), or LN(drop(h) + x) with a residual, and the feed-forward."""

    def __init__(self, config: RecommenderConfig, *, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        self.feed_forward = FeedForward(config)

    def forward(self, x: Tensor, mixed: Tensor, ends: Tensor | None) -> Tensor:
        """Return the layer's output for its input x (B, L, D) and what the mixer made of it, (B, L, D).

        With ``ends`` (B,), both are (B, 1, D): of each row's last position alone.
        """
        if ends is not None:
            x = last_alone(x, ends)
        mixed = self.dropout(mixed)
        out: Tensor = self.feed_forward(self.norm(mixed + x if self.residual else mixed))
        return out

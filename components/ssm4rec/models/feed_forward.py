"""What follows the mixer in a layer of Mamba4Rec, Hydra4Rec and LRURec: the same in all three."""

from torch import Tensor, nn
from torch.nn import functional


class FeedForward(nn.Module):
    """LN(x + drop(W2 drop(gelu(W1 x + b1)) + b2)), as in Liu et al. (2024), "PFFN"."""

    def __init__(self, d_model: int, d_ff: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(d_model, d_ff)
        self.contract = nn.Linear(d_ff, d_model)
        self.norm = nn.LayerNorm(d_model, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) for x (..., D)."""
        inner = self.dropout(functional.gelu(self.expand(x)))
        out: Tensor = self.norm(x + self.dropout(self.contract(inner)))
        return out


class AfterMixer(nn.Module):
    """LN(drop(h)), or LN(drop(h) + x) with a residual, and the feed-forward."""

    def __init__(self, d_model: int, d_ff: int, dropout: float, *, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.norm = nn.LayerNorm(d_model, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = FeedForward(d_model, d_ff, dropout)

    def forward(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Return the layer's output (..., D) for its input x and what the mixer made of it, both (..., D)."""
        mixed = self.dropout(mixed)
        out: Tensor = self.feed_forward(self.norm(mixed + x if self.residual else mixed))
        return out

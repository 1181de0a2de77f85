"""The position-wise feed-forward of Mamba4Rec, which Hydra4Rec and LRURec share."""

from torch import Tensor, nn
from torch.nn import functional


class FeedForward(nn.Module):
    """LN(x + drop(W2 drop(gelu(W1 x + b1)) + b2)), as in Liu et al. (2024), "PFFN"."""

    def __init__(self, width: int, inner_width: int, dropout: float) -> None:
        super().__init__()
        self.expand = nn.Linear(width, inner_width)
        self.contract = nn.Linear(inner_width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., D) for x (..., D)."""
        inner = self.dropout(functional.gelu(self.expand(x)))
        out: Tensor = self.norm(x + self.dropout(self.contract(inner)))
        return out

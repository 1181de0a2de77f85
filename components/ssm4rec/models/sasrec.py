"""SASRec: causal self-attention over the item sequence.

Kang & McAuley (2018). ``norm="post"`` with GELU is the form of RecBole's SASRec (RUCAIBox/RecBole:
recbole/model/sequential_recommender/sasrec.py), on which the paper builds: embedding + learned position -> LayerNorm
-> dropout -> layers of [LN(x + drop(attention(x))), LN(x + drop(feed-forward(x)))]. ``norm="pre"`` normalizes the
input of each sublayer instead and once at the end; it trains faster (the ``best`` profile).

Shapes: B batch, L length, D width, H heads.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.recommender import Recommender, check_sizes, initialize, item_embedding


@dataclass(frozen=True)
class SASRecConfig:
    """Sizes of a SASRec; ``maximum_length`` is the longest history it can read, in items."""

    maximum_length: int
    width: int
    layers: int
    heads: int
    inner_width: int
    dropout: float
    norm: Literal["post", "pre"]

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if self.norm not in ("post", "pre"):
            raise ValueError(f"there is no norm called {self.norm!r}: post or pre")
        check_sizes(self.maximum_length, self.layers, self.inner_width, self.dropout)


class SASRec(Recommender):
    """Items (B, L) to hidden states (B, L, D) through causal self-attention."""

    def __init__(self, config: SASRecConfig, item_count: int) -> None:
        super().__init__()
        self.config = config
        self.maximum_length = config.maximum_length
        self.item_embedding = item_embedding(item_count, config.width)
        self.position_embedding = nn.Embedding(config.maximum_length, config.width)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        self.apply(initialize)

    def forward(self, items: Tensor) -> Tensor:
        """Return hidden states (B, L, D) for items (B, L)."""
        places = torch.arange(items.shape[1], device=items.device)  # position 0 is the oldest item read
        x: Tensor = self.item_embedding(items) + self.position_embedding(places)
        post = self.config.norm == "post"
        x = self.dropout(self.norm(x) if post else x)
        for layer in self.layers:
            x = layer(x)
        if not post:
            x = self.norm(x)
        return x


class _Layer(nn.Module):
    """Attention and feed-forward, each with a residual."""

    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.post = config.norm == "post"
        self.dropout_rate = config.dropout
        self.query_key_value = nn.Linear(config.width, 3 * config.width)
        self.output = nn.Linear(config.width, config.width)
        self.attention_norm = nn.LayerNorm(config.width, eps=1e-12)
        self.expand = nn.Linear(config.width, config.inner_width)
        self.contract = nn.Linear(config.inner_width, config.width)
        self.feed_forward_norm = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:  # (B, L, D)
        if self.post:
            x = self.attention_norm(x + self.dropout(self._attention(x)))
            x = self.feed_forward_norm(x + self.dropout(self._feed_forward(x)))
        else:
            x = x + self.dropout(self._attention(self.attention_norm(x)))
            x = x + self.dropout(self._feed_forward(self.feed_forward_norm(x)))
        return x

    def _attention(self, x: Tensor) -> Tensor:
        B, L, D = x.shape
        split = self.query_key_value(x).view(B, L, 3, self.heads, D // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (B, H, L, D / H)
        rate = self.dropout_rate if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=True)
        out: Tensor = self.output(mixed.transpose(1, 2).reshape(B, L, D))
        return out

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.contract(functional.gelu(self.expand(x)))
        return out

"""SASRec: causal self-attention over the item sequence.

Kang & McAuley (2018). ``norm="post"`` with GELU is the form of RecBole's SASRec (RUCAIBox/RecBole:
recbole/model/sequential_recommender/sasrec.py), on which the paper builds: embedding + learned position -> LayerNorm
-> dropout -> layers of [LN(x + drop(attention(x))), LN(x + drop(feed-forward(x)))]. ``norm="pre"`` normalizes the
input of each sublayer instead and once at the end; it trains faster (the ``best`` profile).

Shapes: B batch, L length, D width, H heads, M maximum length.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.item_vectors import item_embedding
from ssm4rec.models.item_words import ItemWords
from ssm4rec.models.mixer import Memory, last_alone, valid_mask
from ssm4rec.models.recommender import initialize
from ssm4rec.models.serving import ServingRecommender
from ssm4rec.models.sizes import MAX_LENGTH, Histories, Profile, RecommenderConfig, tuned_dropout

Attend = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""From queries, keys and values (B, H, L, D / H) and the dropout rate to the mixed values, as many as queries."""


@dataclass(frozen=True, kw_only=True)
class SASRecConfig(RecommenderConfig):
    """Sizes and recipe of a SASRec."""

    n_heads: int  # H, which divides the width
    norm: Literal["post", "pre"]  # see the module's description

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_heads < 1 or self.d_model % self.n_heads:
            raise ValueError(f"d_model {self.d_model} is not a multiple of n_heads {self.n_heads}")
        if self.norm not in ("post", "pre"):
            raise ValueError(f"there is no norm called {self.norm!r}: post or pre")

    def build(self, item_count: int, words: ItemWords | None = None) -> "SASRec":
        """Return a freshly initialized SASRec."""
        return SASRec(self, item_count, words)

    @classmethod
    def recipe(cls, profile: Profile, histories: Histories) -> "tuple[SASRecConfig, dict[str, Any]]":
        """Return the paper's baseline: "SASRec … 320k (100k)" parameters on ML-1M."""
        paper = cls(
            max_length=MAX_LENGTH[histories],
            d_model=64,  # Mamba4Rec: hidden_size 64
            n_layers=2,  # 2 layers have 99,968 parameters, the paper's "100k"
            n_heads=2,  # RecBole's SASRec
            d_ff=256,  # RecBole's SASRec
            dropout=0.2,  # Mamba4Rec: dropout_prob 0.2
            norm="post",  # RecBole's SASRec
            repeat_term=profile != "paper",
        )
        match profile:
            case "paper":
                return paper, {}
            case "smoke":
                return replace(paper, d_model=16, n_layers=1, d_ff=32), {}
        n_layers = 2 if histories == "long" else 1
        tuned = replace(paper, norm="pre", n_layers=n_layers, dropout=tuned_dropout(histories))
        longer = profile == "best" and histories == "long"  # after 40 epochs it was still rising
        return tuned, {"epochs": 80, "patience": 15} if longer else {}


class SASRec(ServingRecommender):
    """Items (B, L) to hidden states (B, L, D) through causal self-attention.

    Its serving memory is the last M items (B, M) and the layers' keys and values (layers, B, H, M, D / H each, batch
    first). Positions count from the oldest item read: once a history is longer than M, every further event moves all
    positions, and the M items are read again.
    """

    def __init__(self, config: SASRecConfig, item_count: int, words: ItemWords | None = None) -> None:
        super().__init__(config)
        self.config = config
        self.item_embedding = item_embedding(config, item_count, words)
        self.position_embedding = nn.Embedding(config.max_length, config.d_model)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)
        self.apply(initialize)

    def forward(self, items: Tensor, segments: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Return hidden states (B, L, D), or (B, 1, D), for items (B, L)."""
        places = torch.arange(items.shape[1], device=items.device)  # position 0 is the oldest item read
        if segments is None:
            return self._read(items, places, self._attends(lengths, items.shape[1]), lengths)
        starts = torch.cat([torch.ones_like(segments[:, :1]), segments.diff(dim=1)], dim=1) != 0
        places = places - torch.where(starts, places, 0).cummax(dim=1).values
        absent = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool, device=items.device).triu(1)
        mask = (segments[:, :, None] == segments[:, None]) & ~absent  # (B, L, L)
        attends = [_masked(mask[:, None])] * len(self.layers)
        if lengths is not None:
            attends[-1] = _masked(last_alone(mask, lengths)[:, None])
        return self._read(items, places, attends, lengths)

    def read_histories(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Memory]:
        """Return hidden states (B, D) and memory after histories (B, L) of which the last M items are read."""
        M = self.max_length
        read = lengths.clamp(max=M)
        steps = torch.arange(min(M, items.shape[1]), device=items.device)
        last = items.gather(1, torch.where(steps < read[:, None], steps + (lengths - read)[:, None], 0))
        caches = [_Cache(M) for _ in self.layers]
        attends = [cache.filling(attend) for cache, attend in zip(caches, self._attends(read, len(steps)), strict=True)]
        hidden = self._read(last, steps, attends, read)[:, 0]
        memory = (functional.pad(last, (0, M - len(steps))), *(part for cache in caches for part in cache.parts))
        return hidden, memory

    def read_events(self, memory: Memory, events: Tensor, items: Tensor) -> tuple[Tensor, Memory]:
        """Return hidden states (B, D) and memory after one more item (B,) of every user."""
        full = events >= self.max_length
        if not full.any():
            return self._append(memory, events, items)
        short_rows, full_rows = (~full).nonzero()[:, 0], full.nonzero()[:, 0]
        slid = torch.cat([memory[0][full_rows, 1:], items[full_rows, None]], dim=1)
        hidden, after = self.read_histories(slid, torch.full_like(full_rows, self.max_length))
        if full.all():
            return hidden, after
        short = self._append(tuple(part[short_rows] for part in memory), events[short_rows], items[short_rows])
        order = torch.cat([short_rows, full_rows]).argsort()
        joined = [torch.cat(pair)[order] for pair in zip((short[0], *short[1]), (hidden, *after), strict=True)]
        return joined[0], tuple(joined[1:])

    def _append(self, memory: Memory, events: Tensor, items: Tensor) -> tuple[Tensor, Memory]:
        """Add an item to histories shorter than M: one query against the keys so far."""
        rows = torch.arange(len(items), device=items.device)
        window, *parts = memory
        window = window.index_put((rows, events), items)
        caches = [_Cache(self.max_length, parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
        attends = [cache.append(events) for cache in caches]
        hidden = self._read(items[:, None], events[:, None], attends, None)[:, 0]
        return hidden, (window, *(part for cache in caches for part in cache.parts))

    def _attends(self, lengths: Tensor | None, steps: int) -> list[Attend]:
        """Return each layer's attention in rows of one history: the last layer's from the last positions, if given."""
        last = _causal if lengths is None else _masked(valid_mask(lengths, steps)[:, None, None])
        return [*[_causal] * (len(self.layers) - 1), last]

    def _read(self, items: Tensor, places: Tensor, attends: list[Attend], lengths: Tensor | None) -> Tensor:
        """Return hidden states (B, L, D), or with ``lengths`` those of the last positions, (B, 1, D)."""
        x: Tensor = self.item_embedding(items) + self.position_embedding(places)
        post = self.config.norm == "post"
        x = self.dropout(self.norm(x) if post else x)
        for layer, attend in zip(self.layers[:-1], attends[:-1], strict=True):
            x = layer(x, attend, None)
        x = self.layers[-1](x, attends[-1], lengths)
        if not post:
            x = self.norm(x)
        return x


class _Layer(nn.Module):
    def __init__(self, config: SASRecConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.post = config.norm == "post"
        self.dropout_rate = config.dropout
        self.query_key_value = nn.Linear(config.d_model, 3 * config.d_model)
        self.output = nn.Linear(config.d_model, config.d_model)
        self.attention_norm = nn.LayerNorm(config.d_model, eps=1e-12)
        self.expand = nn.Linear(config.d_model, config.d_ff)
        self.contract = nn.Linear(config.d_ff, config.d_model)
        self.feed_forward_norm = nn.LayerNorm(config.d_model, eps=1e-12)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, attend: Attend, lengths: Tensor | None) -> Tensor:
        """Return (B, L, D) for x (B, L, D), or with ``lengths`` the last positions' alone, (B, 1, D)."""
        mixed = self.dropout(self._attention(x if self.post else self.attention_norm(x), attend, lengths))
        if lengths is not None:
            x = last_alone(x, lengths)
        if self.post:
            x = self.attention_norm(x + mixed)
            return self.feed_forward_norm(x + self.dropout(self._feed_forward(x)))  # type: ignore[no-any-return]
        x = x + mixed
        return x + self.dropout(self._feed_forward(self.feed_forward_norm(x)))  # type: ignore[no-any-return]

    def _attention(self, x: Tensor, attend: Attend, lengths: Tensor | None) -> Tensor:
        B, L, D = x.shape
        split = self.query_key_value(x).view(B, L, 3, self.n_heads, D // self.n_heads)
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each (B, H, L, D / H)
        if lengths is not None:
            query = last_alone(split[:, :, 0], lengths).transpose(1, 2)  # (B, H, 1, D / H)
        mixed = attend(query, key, value, self.dropout_rate if self.training else 0.0)
        out: Tensor = self.output(mixed.transpose(1, 2).flatten(2))
        return out

    def _feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.contract(functional.gelu(self.expand(x)))
        return out


def _causal(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True)


def _masked(mask: Tensor) -> Attend:
    """Return attention where ``mask`` (B, 1, L, L) allows it."""

    def attend(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)

    return attend


class _Cache:
    """One layer's keys and values of up to M items, ``parts``: each (B, H, M, D / H)."""

    def __init__(self, size: int, *parts: Tensor) -> None:
        self.size = size
        self.parts = parts

    def filling(self, attend: Attend) -> Attend:
        """Return the same attention, which keeps the keys and values here."""

        def filled(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
            room = (0, 0, 0, self.size - key.shape[2])
            self.parts = (functional.pad(key, room), functional.pad(value, room))
            return attend(query, key, value, dropout)

        return filled

    def append(self, places: Tensor) -> Attend:
        """Return attention of one query a row, at ``places`` (B,), to the kept keys and its own."""
        reach = int(places.max()) + 1
        mask = torch.arange(reach, device=places.device) <= places[:, None]  # (B, reach)

        def attend(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> Tensor:
            rows = torch.arange(len(places), device=places.device)
            at = (rows[:, None], torch.arange(key.shape[1], device=places.device), places[:, None])
            self.parts = tuple(
                kept.index_put(at, new[:, :, 0]) for kept, new in zip(self.parts, (key, value), strict=True)
            )
            keys, values = (part[:, :, :reach] for part in self.parts)
            return _masked(mask[:, None, None])(query, keys, values, dropout)

        return attend

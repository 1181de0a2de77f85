"""The table of item vectors, which a recommender reads its input from and scores with.

- ``id``: a vector of each item's own, a plain embedding.
- ``text``: the mean of the vectors of its words (``item_words.py``), through a linear layer without bias.
- ``id+text``: the sum of both. In training the own vector of each item is 0 with probability ``id_dropout``, drawn
  once per table, so that the words alone say something too; an item without training events has none.

A table of words is computed once per step of a training, and once for all that is scored with the same weights.

Shapes: V items, D width, W words in the vocabulary, N words of all items; row 0 is padding.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.models.item_words import ItemWords
from ssm4rec.models.sizes import RecommenderConfig

INITIAL_DEVIATION = 0.02
"""Standard deviation of initial weights, as in RecBole's SASRec and in Mamba4Rec (`_init_weights`)."""


class WordVectors(nn.Module):
    """Vectors of items from their words, with or without one of their own; it stands where an nn.Embedding would.

    ``mask_token``: whether there is one more row, V + 1, which has no words.
    """

    tokens: Tensor
    starts: Tensor

    def __init__(self, config: RecommenderConfig, words: ItemWords, *, mask_token: bool = False) -> None:
        super().__init__()
        self.register_buffer("tokens", torch.as_tensor(words.tokens), persistent=False)
        self.register_buffer("starts", torch.as_tensor(words.starts), persistent=False)
        self.source = words
        item_count = len(words.starts)
        self.words = nn.EmbeddingBag(words.vocabulary, config.d_model, mode="mean")
        self.linear = nn.Linear(config.d_model, config.d_model, bias=False)
        with_ids = config.item_vectors == "id+text"
        self.ids = nn.Embedding(item_count + 1, config.d_model, padding_idx=0) if with_ids else None
        self.mask = nn.Parameter(torch.empty(1, config.d_model)) if mask_token else None
        self.id_dropout = config.id_dropout
        self._held: Tensor | None = None
        self._kept: tuple[object, Tensor] | None = None  # the table of weights that do not change, and which they are
        self.reset()

    def reset(self) -> None:
        """Draw all weights: rows from words are as large as those of an embedding."""
        nn.init.normal_(self.words.weight)
        nn.init.normal_(self.linear.weight, std=self.linear.in_features**-0.5)
        with torch.no_grad():
            spread = self._of_words().square().mean().sqrt().clamp(min=1e-3)
            self.words.weight.mul_(INITIAL_DEVIATION / spread)
            if self.mask is not None:
                nn.init.normal_(self.mask, std=INITIAL_DEVIATION)
            if self.ids is not None:
                nn.init.normal_(self.ids.weight, std=INITIAL_DEVIATION)
                self.ids.weight[0].zero_()

    def forget(self, items: Tensor) -> None:
        """Take their own vectors from ``items`` (n,): they have no training event."""
        if self.ids is not None:
            with torch.no_grad():
                self.ids.weight[items] = 0

    @property
    def weight(self) -> Tensor:
        """The table: (V + 1, D), or (V + 2, D) with a mask token."""
        return self._table() if self._held is None else self._held

    def forward(self, items: Tensor) -> Tensor:
        """Return the vectors (..., D) of ``items`` (...)."""
        return functional.embedding(items, self.weight)

    @contextmanager
    def one_table(self) -> Iterator[None]:
        """Compute the table once for all that happens in this block: its gradient flows together."""
        self._held = self._table()
        try:
            yield
        finally:
            self._held = None

    def train(self, mode: bool = True) -> "WordVectors":
        """Forget the table kept for scoring, as well."""
        self._kept = None
        return super().train(mode)

    def keep_uncompiled(self) -> None:
        """Leave the table out of a compiled model: only Python knows whether the weights are still the same.

        As a decorator, ``torch.compiler.disable`` would import torch's compiler into every program: a third of the time
        it takes to start.
        """
        self._table = torch.compiler.disable(self._table)  # type: ignore[method-assign, no-untyped-call]

    def _table(self) -> Tensor:
        if self.training or torch.is_grad_enabled():
            return self._computed()
        state = [(weight.data_ptr(), weight._version) for weight in self.parameters()]
        if self._kept is None or self._kept[0] != state:
            self._kept = (state, self._computed())
        return self._kept[1]

    def _computed(self) -> Tensor:
        with torch.autocast(self.tokens.device.type, enabled=False):
            rows = self._of_words()
        if self.ids is not None:
            own = self.ids.weight[1:]
            if self.training and self.id_dropout:
                own = own * (torch.rand(len(own), 1, device=own.device) >= self.id_dropout)
            rows = rows + own
        padding = rows.new_zeros(1, rows.shape[1])
        return torch.cat([padding, rows] if self.mask is None else [padding, rows, self.mask])

    def _of_words(self) -> Tensor:
        rows: Tensor = self.linear(self.words(self.tokens, self.starts))  # (V, D)
        return rows


def item_embedding(
    config: RecommenderConfig, item_count: int, words: ItemWords | None, *, mask_token: bool = False
) -> nn.Embedding | WordVectors:
    """Return vectors of items 1..V, and V + 1 with a mask token; row 0 is padding.

    Raise ValueError if the vectors are to be made of words and there are none, or of other items.
    """
    if config.item_vectors == "id":
        return nn.Embedding(item_count + 1 + mask_token, config.d_model, padding_idx=0)
    if words is None or len(words.starts) != item_count:
        raise ValueError(f"item_vectors {config.item_vectors} needs the words of {item_count} items")
    return WordVectors(config, words, mask_token=mask_token)

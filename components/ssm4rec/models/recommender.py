"""What every ID-based recommender is to the rest of the code.

Shapes: B batch, L length, D width, V items; item 0 is padding.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.models.item_vectors import INITIAL_DEVIATION, WordVectors
from ssm4rec.models.item_words import ItemWords
from ssm4rec.models.repeat_term import RepeatTerm, cells_of
from ssm4rec.models.sizes import RecommenderConfig


class Recommender(nn.Module):
    """A sequence model over items.

    The output layer is the item embedding itself, without bias (Mamba4Rec, "prediction layer"). Histories are padded
    on the right, so that a causal model needs no mask: padding comes after everything that counts.
    """

    item_embedding: nn.Embedding | WordVectors
    max_length: int
    """The longest history the model was made for, in items."""
    causal: bool
    """See ``sizes.py``."""
    mask_token: int | None = None
    """The id that stands for a hidden item, if there is one."""

    def __init__(self, config: RecommenderConfig) -> None:
        super().__init__()
        self.max_length = config.max_length
        self.causal = config.causal
        self.repeat_term = RepeatTerm() if config.repeat_term else None

    @abstractmethod
    def forward(self, items: Tensor, segments: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Return hidden states (B, L, D), or with ``lengths`` those of the last positions, (B, 1, D).

        Args:
            items: (B, L), int64, 0 where padded.
            segments: ids (B, L) of several histories packed into a row, never falling; each is read as if it stood
                alone. None: each row is one history.
            lengths: (B,), of rows padded on the right, whose last real position alone is wanted: what no other layer
                reads of the last one is not computed for the rest.
        """

    def item_vectors(self) -> Tensor:
        """Return the output vectors (V, D) of items 1..V; row i belongs to item i + 1."""
        return self.item_embedding.weight[1:]

    @property
    def words(self) -> ItemWords | None:
        """What its items are called, if their vectors are made of it."""
        return self.item_embedding.source if isinstance(self.item_embedding, WordVectors) else None

    def forget(self, items: Int64s) -> None:
        """Set the own vectors of ``items`` (n,) without a training event to zero: only their words are left."""
        if isinstance(self.item_embedding, WordVectors):
            self.item_embedding.forget(torch.from_numpy(items))

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile the model as torch does, but for a table of words."""
        if isinstance(self.item_embedding, WordVectors):
            self.item_embedding.keep_uncompiled()
        super().compile(*args, **kwargs)

    @contextmanager
    def one_table(self) -> Iterator[None]:
        """Compute the item vectors at most once in this block, from which a step's loss comes."""
        with self.item_embedding.one_table() if isinstance(self.item_embedding, WordVectors) else nullcontext():
            yield

    def next_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return the hidden states (B, D) from which the next item is predicted.

        Args:
            items: histories (B, L), int64, oldest first, padded on the right with 0.
            lengths: (B,), the number of items in each history, at least 1.
        """
        hidden: Tensor = self(items, lengths=lengths)
        return hidden[:, 0]

    def score(self, hidden: Tensor, seen: Tensor) -> Tensor:
        """Return scores (B, V) of items 1..V from hidden states (B, D), never in less than float32.

        In bfloat16 many would tie, and ties count against the model.

        Args:
            hidden: (B, D).
            seen: cells of the scores, counted row after row, that hold items of the users' histories, (S,); read by
                a model with a repeat term only.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            return self._scores(hidden, self.item_vectors(), seen)

    def score_some(self, hidden: Tensor, items: Tensor, had: Tensor) -> Tensor:
        """Return scores (B, C) of some ``items`` (C,), int64, from hidden states (B, D), as :meth:`score` gives them.

        Args:
            hidden: (B, D).
            items: 1..V.
            had: cells of these scores, counted row after row, that hold items of the users' histories, (S,).
        """
        with torch.autocast(hidden.device.type, enabled=False):
            return self._scores(hidden, self.item_vectors()[items - 1], had)

    def _scores(self, hidden: Tensor, vectors: Tensor, had: Tensor) -> Tensor:
        scores = hidden.to(vectors.dtype) @ vectors.T
        return scores if self.repeat_term is None else self.repeat_term.add(scores, had)

    def score_next(
        self, items: Tensor, lengths: Tensor, seen: Tensor | None = None, rows: Tensor | None = None
    ) -> Tensor:
        """Return scores of items 1..V as the next item, (B, V), or (T, V) with ``rows``.

        Args:
            items: histories, or the most recent part of them, as :meth:`next_hidden`.
            lengths: as there; with ``rows``, (T,): score t is given by the first ``lengths[t]`` items of its row.
            seen: the cells of whole histories, as :meth:`score`; None: ``items`` are the whole histories.
            rows: of ``items``, one for each wanted score, (T,): one pass of a causal model gives the scores at
                several places of a row. None: one score a row.
        """
        if seen is None:
            seen = cells_of(items, len(self.item_vectors()))
        hidden = self.next_hidden(items, lengths) if rows is None else self(items)[rows, lengths - 1]
        return self.score(hidden, seen)


def initialize(module: nn.Module) -> None:
    """Draw linear and embedding weights from N(0, 0.02); biases and padding start at zero."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INITIAL_DEVIATION)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
    if isinstance(module, WordVectors):  # after the layers in it
        module.reset()


def parameter_counts(model: Recommender) -> tuple[int, int]:
    """Return the number of parameters with and without embedding tables (the paper prints both)."""
    total = sum(parameter.numel() for parameter in model.parameters())
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)]
    embeddings = sum(module.weight.numel() for module in tables)
    return total, total - embeddings

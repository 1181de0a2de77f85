"""A model that reads users' items: all that are kept of a user, or one more after a state; many users in one step.

Shapes: n users, B users of a batch, L items of the longest, D width.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence

import numpy
import torch
from torch import Tensor

from ssm4rec import __version__
from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.data.batches import gather_rows, length_buckets
from ssm4rec.evaluation.full_ranking import TOKENS
from ssm4rec.models.mixer import Memory
from ssm4rec.models.recommender import Recommender
from ssm4rec.models.serving import RecurrentRecommender
from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.serving.records import State

_ROWS = 1024
"""Users of a batch at most: their states are held at once."""


def owner_of(recommender: CatalogRecommender) -> str:
    """Return what tells the states of this model from those of others: a digest of weights, catalog and our version."""
    catalog = recommender.catalog
    digest = hashlib.sha256(json.dumps([__version__, [*catalog.item_ids], [*catalog.titles]]).encode())
    for name, tensor in sorted(recommender.model.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_histories(model: Recommender, histories: Sequence[Int32s]) -> list[State]:
    """Return the states after histories, n: of a model that is not recurrent just the hidden state, (1, D).

    A recurrent model reads all items of a history, at least 1, any other the last ``max_length`` of them.
    """
    recurrent = isinstance(model, RecurrentRecommender)
    read = histories if recurrent else [items[-model.max_length :] for items in histories]
    states: list[State] = [()] * len(read)
    for batch, items, lengths in _batches(read):
        memory: Memory = ()
        if isinstance(model, RecurrentRecommender):
            hidden, memory = model.read_histories(items, lengths)
        else:
            hidden = model.next_hidden(items, lengths)
        _split(states, batch, (hidden, *memory))
    return states


def read_more(model: RecurrentRecommender, before: Sequence[State], items: Sequence[Int32s]) -> list[State]:
    """Return the states after further items of users, n: one step of the model where each has one."""
    states: list[State] = [()] * len(items)
    for batch, more, lengths in _batches(items):
        memory = tuple(torch.cat(parts) for parts in zip(*(before[row][1:] for row in batch.tolist()), strict=True))
        # Without padding a step needs no mask.
        hidden, memory = model.read(more, None, memory, lengths if more.shape[1] > 1 else None)
        _split(states, batch, (hidden[:, 0], *memory))
    return states


def _batches(histories: Sequence[Int32s]) -> Iterator[tuple[Int64s, Tensor, Tensor]]:
    """Yield places in ``histories``, their items (B, L), padded with 0, and lengths (B,)."""
    if not histories:
        return
    lengths = numpy.array([len(items) for items in histories])
    flat, starts = numpy.concatenate(histories), lengths.cumsum() - lengths
    for batch in length_buckets(lengths, TOKENS["cpu"], _ROWS):
        rows = torch.from_numpy(gather_rows(flat, starts[batch], lengths[batch]))
        yield batch, rows, torch.from_numpy(lengths[batch])


def _split(states: list[State], batch: Int64s, tensors: Memory) -> None:
    for place, row in enumerate(batch):
        states[row] = tuple(tensor[place : place + 1] for tensor in tensors)

"""Which items a model with words is trained on: those with training events, as if there were no others yet.

As negatives of the softmax the others would be pushed away by whatever words they do not share with the trained ones.

Shapes: V items, K of them known, T targets, D width.
"""

from dataclasses import replace

import numpy
import torch
from torch import Tensor, nn

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.training.losses import SeenItems


class KnownItems(nn.Module):
    """The items with training events, numbered 1, 2, ..., K among themselves."""

    places: Tensor
    numbers: Tensor

    def __init__(self, training_counts: Int64s) -> None:
        """Take the number of training interactions of each item, (V + 1,) with padding first."""
        super().__init__()
        places = numpy.flatnonzero(training_counts[1:])
        numbers = numpy.zeros(len(training_counts) + 1, dtype=numpy.int64)  # 0 for padding, unknown, and the mask token
        numbers[places + 1] = numpy.arange(1, len(places) + 1)
        self.training_counts = numpy.concatenate([training_counts[:1], training_counts[places + 1]])
        """Of the known ones, (K + 1,) with padding first."""
        self.register_buffer("places", torch.from_numpy(places))
        self.register_buffer("numbers", torch.from_numpy(numbers))

    def forward(self, vectors: Tensor, targets: Tensor, seen: SeenItems) -> tuple[Tensor, Tensor, SeenItems]:
        """Return the vectors (K, D) of those of (V, D), and targets (T,) and shown items by the numbers among them."""
        return vectors[self.places], self.numbers[targets], replace(seen, items=self.numbers[seen.items])

"""Which targets a training shows: from users' sequences to crops, and from a batch of crops to inputs and targets.

A crop is a run of a user's training items: ``lengths`` inputs and, but for cloze, one item more, the target
after the last input.

Shapes: n crops, B rows of a batch, L longest row, T targets.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset
from ssm4rec.models.recommender import Recommender
from ssm4rec.training.losses import SeenItems
from ssm4rec.training.settings import TrainingSettings


@dataclass(frozen=True)
class Crops:
    """Where n crops lie in ``SequenceDataset.items``: (n,) first inputs and (n,) numbers of inputs, at least 1."""

    starts: Int64s
    lengths: Int64s


@dataclass(frozen=True)
class Batch:
    """What one optimizer step looks at, before it goes to a device."""

    items: Tensor  # inputs (B, L), 0 where padded
    targets: Tensor  # (B, L), the item to predict at each position, 0 where there is none; or (B,), one for each row
    lengths: Tensor  # inputs of each row, (B,); used where there is one target for each row

    def part(self, rows: slice) -> "Batch":
        """Return some of the rows."""
        return Batch(self.items[rows], self.targets[rows], self.lengths[rows])

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return Batch(*(tensor.to(device, non_blocking=True) for tensor in (self.items, self.targets, self.lengths)))

    def hidden(self, model: Recommender) -> tuple[Tensor, Tensor]:
        """Return the model's hidden states (T, D) that predict, and the targets (T,)."""
        if self.targets.dim() == 1:
            return model.next_hidden(self.items, self.lengths), self.targets
        present = self.targets > 0
        return model(self.items)[present], self.targets[present]

    def seen(self, model: Recommender) -> SeenItems:
        """Return what a model reads before each target of :meth:`hidden`: a causal one the inputs up to its position.

        The input that a mask token hides is in ``targets`` alone.
        """
        if self.targets.dim() == 1:
            return SeenItems(self.items, torch.arange(len(self.items), device=self.items.device), self.lengths)
        rows, positions = (self.targets > 0).nonzero(as_tuple=True)
        return SeenItems(self.items, rows, positions + 1 if model.causal else self.lengths[rows])


@dataclass(frozen=True)
class Objective:
    """How crops are drawn and what is asked of them.

    Attributes:
        crops: draws an epoch's crops for a model of that maximum length.
        extra: items that a row needs after its inputs: 1 for the target that follows, 0 for cloze.
        batch: makes inputs and targets of rows (B, L + extra), right-padded with 0.
    """

    crops: Callable[[SequenceDataset, int, numpy.random.Generator], Crops]
    extra: int
    batch: Callable[[Tensor, torch.Generator], Batch]


def objective(settings: TrainingSettings, model: Recommender) -> Objective:
    """Return the settings' objective for a model, which ``Recipe.check`` found to fit."""
    draw = _random_crops if settings.crops == "random" else _all_crops
    match settings.objective:
        case "next-item":
            return Objective(partial(draw, 1), 1, _at_all_positions)
        case "sampled-prefixes":
            return Objective(partial(_sampled_prefixes, settings.prefixes), 1, _after_the_last)
        case "every-prefix":
            return Objective(_every_prefix, 1, _after_the_last)
        case "cloze":
            return Objective(partial(draw, 0), 0, partial(_masked, model.mask_token or 0, settings))


def _trainable(dataset: SequenceDataset) -> tuple[Int64s, Int64s]:
    """Return the first places and the numbers of training items of users with at least one input and one target."""
    users = numpy.flatnonzero(dataset.train_length >= 2)
    return dataset.offsets[users], dataset.train_length[users].astype(numpy.int64)


def _random_crops(extra: int, dataset: SequenceDataset, max_length: int, rng: numpy.random.Generator) -> Crops:
    firsts, counts = _trainable(dataset)
    lengths = numpy.minimum(counts - extra, max_length)
    return Crops(firsts + rng.integers(0, counts - extra - lengths + 1), lengths)


def _all_crops(extra: int, dataset: SequenceDataset, max_length: int, rng: numpy.random.Generator) -> Crops:
    """Cut each user's training items into crops of ``max_length`` inputs, the first and the last shorter.

    A user whose items fit into one crop has one; of others the first cut is drawn again in every epoch, so that no
    item always begins a crop.
    """
    firsts, items = _trainable(dataset)
    inputs = items - extra
    skipped = numpy.where(inputs > max_length, rng.integers(0, max_length, len(items)), 0)
    counts = -(-(inputs + skipped) // max_length)
    places = _numbered(counts) * max_length - numpy.repeat(skipped, counts)
    starts = numpy.maximum(places, 0)
    stops = numpy.minimum(places + max_length, numpy.repeat(inputs, counts))
    return Crops(numpy.repeat(firsts, counts) + starts, stops - starts)


def _sampled_prefixes(count: int, dataset: SequenceDataset, max_length: int, rng: numpy.random.Generator) -> Crops:
    firsts, counts = (numpy.repeat(column, count) for column in _trainable(dataset))
    return _read_to(firsts, rng.integers(1, counts), max_length)


def _every_prefix(dataset: SequenceDataset, max_length: int, rng: numpy.random.Generator) -> Crops:  # noqa: ARG001
    """Return every prefix of every user: the data augmentation of RecBole and Mamba4Rec."""
    firsts, counts = _trainable(dataset)
    return _read_to(numpy.repeat(firsts, counts - 1), _numbered(counts - 1) + 1, max_length)


def _read_to(firsts: Int64s, ends: Int64s, max_length: int) -> Crops:
    """Return the last ``max_length`` inputs of prefixes that begin at ``firsts`` and have ``ends`` inputs."""
    lengths = numpy.minimum(ends, max_length)
    return Crops(firsts + ends - lengths, lengths)


def _numbered(counts: Int64s) -> Int64s:
    return numpy.arange(counts.sum()) - numpy.repeat(counts.cumsum() - counts, counts)


def _at_all_positions(rows: Tensor, rng: torch.Generator) -> Batch:  # noqa: ARG001 - nothing is drawn
    return Batch(rows[:, :-1], rows[:, 1:], (rows > 0).sum(1) - 1)


def _after_the_last(rows: Tensor, rng: torch.Generator) -> Batch:  # noqa: ARG001 - nothing is drawn
    lengths = (rows > 0).sum(1) - 1
    targets = rows.gather(1, lengths[:, None])
    return Batch(rows.scatter(1, lengths[:, None], 0)[:, :-1], targets[:, 0], lengths)


def _masked(mask_token: int, settings: TrainingSettings, rows: Tensor, rng: torch.Generator) -> Batch:
    """Hide items behind the mask token: a share of each row, or its last alone, never none (Sun et al. 2019)."""
    lengths = (rows > 0).sum(1)
    last = torch.arange(rows.shape[1]) == (lengths - 1)[:, None]
    drawn = (torch.rand(rows.shape, generator=rng) < settings.mask_share) & (rows > 0)
    only_last = torch.rand(len(rows), generator=rng) < settings.last_share
    chosen = torch.where((only_last | ~drawn.any(1))[:, None], last, drawn)
    return Batch(torch.where(chosen, mask_token, rows), torch.where(chosen, rows, 0), lengths)

"""Training of a ranker whose tokens are items, by transformers' Trainer: at every position the item after it.

The loss is the cross-entropy of a softmax over the catalog, without the items that the user had before (a retriever's
candidates have none of these), at every position of a user's training items at once. Sequences are cut into parts of
at most ``history`` items. Where they are cut is drawn for each pass. A part's first item follows from the one before.

The weights kept are those whose ranking of validation users was best (NDCG@10 among the candidates). The points of the
learning curve: ``loss`` (nats per position, mean over the steps since the point before), ``learning_rate`` of what is
new, ``grad_norm``; and ``ndcg@10`` of the validation users.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from transformers import TrainingArguments

from ssm4rec.artifacts.curve import Point
from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.rankings import RETRIEVER_ORDER
from ssm4rec.data.batches import length_buckets
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.llm.candidates import RankingTask
from ssm4rec.llm.item_model import START, ItemModel
from ssm4rec.llm.item_ranker import ItemPrompts, ItemRanker
from ssm4rec.llm.item_settings import ItemSettings
from ssm4rec.llm.orpo import IGNORED
from ssm4rec.llm.ranking import answer_logits, questions, ranks_of_target
from ssm4rec.llm.validated_trainer import Trained, ValidatedTrainer, training_arguments
from ssm4rec.llm.validation_callback import ValidationCallback
from ssm4rec.runtime.errors import InputError

_BETAS: Final = (0.9, 0.98)
"""AdamW's, of a training of some hundred steps."""


@dataclass(frozen=True)
class Part:
    """Part of a user's training items: ``items[start:end]`` is read, all but the last, and predicted.

    ``start`` 0 is the sequence's beginning, whose first item is predicted, too.
    """

    user: int
    start: int
    end: int


@dataclass(frozen=True)
class ItemTask:
    """What to train on: batches in their order, and whose candidates are ranked to choose the best weights."""

    dataset: SequenceDataset
    batches: Sequence[Sequence[Part]]
    validation: RankingTask
    seed: int

    def predicted(self, step: int) -> int:
        """Return how many items were predicted after so many steps."""
        return sum(part.end - part.start - (part.start > 0) for batch in self.batches[:step] for part in batch)


def draw_batches(dataset: SequenceDataset, settings: ItemSettings, seed: int) -> list[list[Part]]:
    """Return a batch for every step; raise InputError if no user has two training items."""
    if not (dataset.train_length >= 2).any():
        raise InputError(f"data set {dataset.name}: no user has two training items; nothing can be learned")
    rng = numpy.random.default_rng([seed, 0x4954454D])
    batches: list[list[Part]] = []
    while len(batches) < settings.steps:
        parts = [part for user in range(dataset.user_count) for part in _parts(dataset, user, settings.history, rng)]
        lengths = numpy.array([part.end - part.start for part in parts])
        drawn = length_buckets(lengths, settings.positions, settings.positions, rng)
        batches += [[parts[row] for row in rows.tolist()] for rows in drawn]
    return batches[: settings.steps]


def _parts(dataset: SequenceDataset, user: int, longest: int, rng: numpy.random.Generator) -> Iterator[Part]:
    length = int(dataset.train_length[user])
    if length < 2:
        return
    first = int(rng.integers(1, longest + 1)) if length > longest else length
    cuts = [0, *range(first, length, longest), length]
    for before, end in pairwise(cuts):
        yield Part(user, max(0, before - 1), end)


def collate(dataset: SequenceDataset, parts: Sequence[Part]) -> dict[str, Tensor]:
    """Return a batch padded on the right, where padding changes nothing before it.

    ``input_ids`` (B, T): the start and a part's items but the last; ``labels`` (B, T): the item after each, or
    ``IGNORED``; ``excluded`` (B, T, V + 1): tokens that cannot follow, those of the user's history, but for the label.
    """
    longest = max(part.end - part.start for part in parts)
    tokens = torch.full((len(parts), longest), START)
    labels = torch.full((len(parts), longest), IGNORED)
    excluded = torch.zeros(len(parts), longest, dataset.item_count + 1, dtype=torch.bool)
    excluded[:, :, START] = True
    for row, part in enumerate(parts):
        first = int(dataset.offsets[part.user])
        sequence = torch.from_numpy(dataset.items[first : first + part.end].astype(numpy.int64))
        shown = sequence[part.start :]
        tokens[row, 1 : len(shown)] = shown[:-1]
        labels[row, : len(shown)] = shown
        if part.start:  # which the start says nothing of: it is predicted in another part
            labels[row, 0] = IGNORED
        excluded[row, :, sequence[: part.start]] = True
        for place, item in enumerate(shown[:-1].tolist(), 1):
            excluded[row, place:, item] = True
    told = labels != IGNORED
    rows, places = told.nonzero(as_tuple=True)
    excluded[rows, places, labels[told]] = False
    return {"input_ids": tokens, "labels": labels, "excluded": excluded}


def next_item_loss(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """Return the mean cross-entropy, nats per label, of a batch of :func:`collate`."""
    logits: Tensor = model(input_ids=inputs["input_ids"], use_cache=False).logits
    allowed = logits.float().masked_fill(inputs["excluded"], -torch.inf)
    return functional.cross_entropy(allowed.flatten(0, 1), inputs["labels"].flatten(), ignore_index=IGNORED)


def train_items(
    ranker: ItemRanker, task: ItemTask, folder: Path, identity: dict[str, Any], on_point: Callable[[Point], None]
) -> Trained:
    """Train a new ranker; see :class:`ValidationCallback` for the last three arguments.

    Raise InputError if the checkpoint is of another training, or the loss became NaN.
    """
    return _ItemTrainer(ranker, task, ValidationCallback(folder, identity, on_point, ranker.settings.patience)).run()


class _ItemTrainer(ValidatedTrainer):
    """Takes the batches as they were drawn; the layers have a rate of their own."""

    measure = "ndcg@10"
    title = "fine-tuning"

    def __init__(self, ranker: ItemRanker, task: ItemTask, callback: ValidationCallback) -> None:
        settings, steps = ranker.settings, len(task.batches)
        self.remedy = (
            f"a lower rate, such as --overrides items.learning_rate={settings.learning_rate / 4:g},"
            f"items.layers_rate={settings.layers_rate / 4:g}, and another --checkpoint-dir"
        )
        self.every = max(1, steps // settings.evaluations)
        self.validation = task.validation
        self.asked = questions(ItemPrompts(settings.history), task.validation, [RETRIEVER_ORDER])
        optimizer = _optimizer(ranker.model, settings)
        rising = max(1, round(steps * settings.warmup))
        schedule = LambdaLR(
            optimizer, lambda step: min((step + 1) / rising, (steps - step) / max(1, steps - rising + 1))
        )
        super().__init__(
            callback,
            model=ranker.model,
            args=training_arguments(
                TrainingArguments,
                callback.folder,
                ranker.model.device,
                max_steps=steps,
                per_device_train_batch_size=1,  # of batches
                max_grad_norm=settings.gradient_norm,
                logging_steps=max(1, min(20, steps // 10)),
                train_sampling_strategy="sequential",
                seed=task.seed,
            ),
            train_dataset=task.batches,
            data_collator=lambda batches: collate(task.dataset, *batches),
            optimizers=(optimizer, schedule),
        )

    def validate(self) -> dict[str, float]:
        scores = answer_logits(self.model, self.asked.users, self.asked.answers, lambda _: None)
        places = self.validation.places(RETRIEVER_ORDER)[:, None]
        return {"ndcg@10": metric_at("ndcg", ranks_of_target(scores, self.validation.sizes, places)[:, 0], 10)}

    def training_numbers(self, logs: dict[str, float]) -> dict[str, float]:
        return {name: logs[name] for name in ("loss", "grad_norm", "learning_rate") if name in logs}

    def is_due(self, step: int) -> bool:
        return step % self.every == 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        del return_outputs, num_items_in_batch
        self.tokens += int((inputs["labels"] != IGNORED).sum())
        return next_item_loss(model, inputs)


def _optimizer(model: ItemModel, settings: ItemSettings) -> torch.optim.AdamW:
    """Return AdamW with two rates, the first that of what is new; weights of one dimension do not decay."""
    layers = {id(parameter) for parameter in model.model.parameters()}
    groups = []
    for of_layers, rate in ((False, settings.learning_rate), (True, settings.layers_rate)):
        mine = [parameter for parameter in model.parameters() if (id(parameter) in layers) == of_layers]
        kept = [parameter for parameter in mine if parameter.ndim < 2 or parameter is model.items.own.weight]
        shrunk = [parameter for parameter in mine if all(parameter is not one for one in kept)]
        groups += [
            {"params": shrunk, "lr": rate, "weight_decay": settings.weight_decay},
            {"params": kept, "lr": rate, "weight_decay": 0.0},
        ]
    return torch.optim.AdamW(groups, betas=_BETAS)

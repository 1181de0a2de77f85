"""The training loop: epochs over all users, validation by full ranking, early stopping, checkpoints.

Everything random is drawn from (seed, epoch), so a training that was killed and resumed ends with the same weights
as one that was not, on the same machine with the same number of threads.

Shapes: B batch, L length, D width, V items, T targets of a batch.
"""

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from ssm4rec.data.batches import gather_rows, length_buckets
from ssm4rec.data.dataset import SequenceDataset
from ssm4rec.errors import InputError
from ssm4rec.evaluation.full_ranking import ScoresNotNumbersError, full_ranking
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.models.build import build_model
from ssm4rec.models.recommender import Recommender
from ssm4rec.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from ssm4rec.training.history import EpochRow
from ssm4rec.training.losses import full_softmax_loss
from ssm4rec.training.settings import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """One training: this recipe, called this, on this data, from this seed."""

    name: str
    recipe: Recipe
    dataset: SequenceDataset
    seed: int

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with a task to belong to it, as it looks after a trip through JSON."""
        document = {
            "model": self.name,
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "seed": self.seed,
            "recipe": asdict(self.recipe),
        }
        return json.loads(json.dumps(document))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Trained:
    """A trained recommender with the weights of its best epoch."""

    model: Recommender
    progress: Progress
    stopped: str
    """``patience`` (no better epoch for that long) or ``epochs`` (they ran out)."""


def train(task: Task, device: torch.device, checkpoint_folder: Path, on_epoch: Callable[[EpochRow], None]) -> Trained:
    """Train to the end, from the checkpoint in ``checkpoint_folder`` if there is one.

    Args:
        task: what to train.
        device: where.
        checkpoint_folder: written after every epoch.
        on_epoch: called with each finished epoch's row, those of an earlier process included.

    Raises:
        InputError: the data cannot be trained on, the checkpoint is of another task, or the loss became NaN.
    """
    settings = task.recipe.training
    torch.manual_seed(_epoch_seed(task.seed, 0))
    model = build_model(task.recipe.model, task.dataset.item_count).to(device)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay
    )
    progress = load_checkpoint(checkpoint_folder, task.identity(), model, optimizer)
    for row in progress.epochs:
        on_epoch(row)
    if progress.epochs:
        logger.info("resumed after epoch %d from %s", len(progress.epochs), checkpoint_folder)
    clock = time.process_time() - progress.cpu_seconds
    while not (stopped := _stopped(progress, settings.epochs, settings.patience)):
        epoch = len(progress.epochs) + 1
        row = _Epoch(task, epoch, model, optimizer, device).run(clock, progress)
        progress.epochs.append(row)
        progress.cpu_seconds = row.cpu_seconds
        if progress.best_epoch == 0 or row.validation_ndcg_10 > _best(progress).validation_ndcg_10:
            progress.best_epoch = epoch
            progress.best_weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        save_checkpoint(checkpoint_folder, task.identity(), progress, model, optimizer)
        on_epoch(row)
        logger.info(
            "%s seed %d epoch %d/%d: loss %.4f, validation ndcg@10 %.4f hit@10 %.4f (best %d), fill %.1f%%, %.0f cpu-s",
            task.name, task.seed, epoch, settings.epochs, row.train_loss, row.validation_ndcg_10,
            row.validation_hit_10, progress.best_epoch, 100 * row.fill, row.cpu_seconds,
        )  # fmt: skip
    model.load_state_dict(progress.best_weights)
    return Trained(model.eval(), progress, stopped)


class _Epoch:
    """One pass over the users and the validation after it."""

    def __init__(
        self, task: Task, epoch: int, model: Recommender, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> None:
        self.task, self.epoch, self.model, self.optimizer, self.device = task, epoch, model, optimizer, device
        self.settings = task.recipe.training

    def run(self, clock: float, progress: Progress) -> EpochRow:
        """Train and validate.

        Args:
            clock: the process time at which this training would have begun.
            progress: the epochs before this one, for the progress bar.
        """
        torch.manual_seed(_epoch_seed(self.task.seed, self.epoch))
        generator = numpy.random.default_rng([self.task.seed, self.epoch])
        dataset, maximum_length = self.task.dataset, self.model.maximum_length
        users = numpy.flatnonzero(dataset.train_length >= 2)
        if not len(users):
            raise InputError(f"data set {dataset.name}: no user has two training items; nothing can be learned")
        spare = dataset.train_length[users].astype(numpy.int64) - 1  # every item but the first is a target
        lengths = numpy.minimum(spare, maximum_length)
        starts = dataset.offsets[users] + generator.integers(0, spare - lengths + 1)
        batches = list(
            length_buckets(lengths, self.settings.tokens_per_batch, self.settings.tokens_per_batch, generator)
        )
        cells = sum(len(batch) * int(lengths[batch].max()) for batch in batches)
        total, targets_seen = 0.0, 0
        self.model.train()
        name = f"{self.task.name} seed {self.task.seed} epoch {self.epoch}/{self.settings.epochs}"
        last = f"{progress.epochs[-1].validation_ndcg_10:.4f}" if progress.epochs else "none yet"
        bar = tqdm(batches, desc=name, leave=False, disable=None)
        for step, batch in enumerate(bar):
            rows = gather_rows(dataset.items, starts[batch], lengths[batch] + 1)
            loss, targets = self._step(torch.from_numpy(rows).to(self.device), step, len(batches))
            total += loss * targets
            targets_seen += targets
            bar.set_postfix({"loss": f"{total / targets_seen:.4f}", "validation ndcg@10": last}, refresh=False)
        try:
            validation = self._validate()
        except ScoresNotNumbersError:
            raise self._diverged("the scores became NaN", len(batches) - 1, len(batches)) from None
        return EpochRow(
            dataset=dataset.name,
            model=self.task.name,
            seed=self.task.seed,
            epoch=self.epoch,
            train_loss=total / targets_seen,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            validation_hit_10=metric_at("hit", validation, 10),
            validation_ndcg_10=metric_at("ndcg", validation, 10),
            targets=targets_seen,
            fill=targets_seen / cells,
            cpu_seconds=time.process_time() - clock,
        )

    def _step(self, rows: Tensor, step: int, steps: int) -> tuple[float, int]:
        """Take one optimizer step on rows (B, L + 1); return the mean loss and the number of targets."""
        passed = (self.epoch - 1 + step / steps) / self.settings.epochs
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * _schedule(self.settings.schedule, passed)
        present = rows[:, 1:] > 0
        hidden = self.model(rows[:, :-1])[present]  # (T, D)
        loss = full_softmax_loss(hidden, self.model.item_vectors(), rows[:, 1:][present])
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"the loss became {value}", step, steps)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_norm)
        self.optimizer.step()
        return value, len(hidden)

    def _diverged(self, what: str, step: int, steps: int) -> InputError:
        return InputError(
            f"{self.task.name} diverged: {what} at epoch {self.epoch}, step {step + 1} of {steps}; start again with a "
            f"lower rate, such as --overrides training.learning_rate={self.settings.learning_rate / 4:g}, "
            "and another --checkpoint-dir"
        )

    def _validate(self) -> numpy.ndarray[tuple[int], numpy.dtype[numpy.int64]]:
        self.model.eval()
        model, dataset = self.model, self.task.dataset
        return full_ranking(model.score_next, dataset, "validation", model.maximum_length, self.device).unmasked


def _schedule(name: str, passed: float) -> float:
    """Return the share of the peak learning rate after the share ``passed`` of the training."""
    return 1.0 if name == "constant" else 0.5 * (1 + math.cos(math.pi * passed))


def _epoch_seed(seed: int, epoch: int) -> int:
    return int(numpy.random.SeedSequence([seed, epoch]).generate_state(1, dtype=numpy.uint64)[0])


def _best(progress: Progress) -> EpochRow:
    return progress.epochs[progress.best_epoch - 1]


def _stopped(progress: Progress, epochs: int, patience: int) -> str:
    """Say why no further epoch is due, '' if one is."""
    if len(progress.epochs) >= epochs:
        return "epochs"
    return "patience" if len(progress.epochs) - progress.best_epoch >= patience else ""

"""Fine-tuning of a generator: new examples in every epoch, validation loss, early stopping, checkpoints.

Everything random is drawn from (seed, epoch), so a training that was killed and resumed ends with the same weights as
one that was not, on the same machine with the same number of threads.

Shapes: B rows of a batch, L its longest row, W vocabulary.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, Split
from ssm4rec.data.batches import length_buckets
from ssm4rec.llm.generator_progress import GeneratorEpoch, GeneratorProgress
from ssm4rec.llm.generator_settings import GeneratorRecipe, GeneratorTraining
from ssm4rec.llm.queries import Example, QueryPrompts
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.checkpoint import Weights, load_state, save_state
from ssm4rec.training.machine import Machine
from ssm4rec.training.task import Task

logger = logging.getLogger(__name__)

_LOOK_EVERY = 20
"""Steps between two looks at the loss: each look waits for a GPU."""

_DRAWS = {"users": 1, "examples": 2, "dropout": 3}
"""What random numbers are for, so that one draw does not depend on another."""


def draw_users(dataset: SequenceDataset, split: Split, most: int, seed: int) -> Int64s:
    """Return the users of a split in ascending order, at most ``most`` of them (0: all), drawn by the seed."""
    users = numpy.flatnonzero(dataset.position(split) > 0)
    if most and len(users) > most:
        random = numpy.random.default_rng([seed, _DRAWS["users"]])
        users = numpy.sort(random.choice(users, size=most, replace=False))
    return users


def history_and_target(dataset: SequenceDataset, user: int, position: int) -> tuple[list[int], int]:
    """Return a user's items before a position, and the item there."""
    start = int(dataset.offsets[user])
    *history, target = dataset.items[start : start + position + 1].tolist()
    return history, target


def train_generator(
    task: Task[GeneratorRecipe],
    model: PreTrainedModel,
    prompts: QueryPrompts,
    machine: Machine,
    checkpoint_folder: Path,
    on_epoch: Callable[[GeneratorEpoch], None],
) -> GeneratorProgress:
    """Train a model to the end, from the checkpoint in ``checkpoint_folder`` if there is one; it gets the best weights.

    Args:
        task: what to train.
        model: float32, on the machine's device.
        prompts: writes the examples.
        machine: what on; one process.
        checkpoint_folder: written after every epoch.
        on_epoch: called with each finished epoch's row, those of an earlier process included.

    Raises:
        InputError: nobody has two training items, no user is in the validation split, the checkpoint is of another
            task, or the loss became NaN.
    """
    settings, dataset = task.recipe.training, task.dataset
    if not (dataset.train_length >= 2).any():
        raise InputError(f"data set {dataset.name}: no user has two training items; nothing can be learned")
    users = draw_users(dataset, "validation", settings.validation_users, task.seed)
    if not len(users):
        raise InputError(f"data set {dataset.name}: no user is in the validation split; prepare it with one")
    held_out = [
        prompts.example(*history_and_target(dataset, user, int(dataset.validation_position[user])))
        for user in users.tolist()
    ]
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    progress, best = GeneratorProgress(), Weights()
    found = load_state(checkpoint_folder, task.identity(), model, optimizer)
    if found is not None:
        state, best = found
        progress = GeneratorProgress.of(state["epochs"], checkpoint_folder)
        for row in progress.rows:
            on_epoch(row)
        logger.info("resumed after epoch %d from %s", len(progress.rows), checkpoint_folder)
    trainer = _Trainer(task, model, prompts, machine, optimizer)
    clock = time.process_time() - (progress.rows[-1].cpu_seconds if progress.rows else 0.0)
    while len(progress.rows) < settings.epochs and len(progress.rows) - progress.best_epoch < settings.patience:
        row = trainer.epoch(len(progress.rows) + 1, held_out, clock)
        progress = progress.with_row(row)
        if progress.best_epoch == row.epoch:
            best = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        state = {"epochs": [asdict(row) for row in progress.rows]}
        save_state(checkpoint_folder, task.identity(), state, best, model, optimizer)
        on_epoch(row)
        logger.info(
            "%s seed %d epoch %d/%d: loss %.4f, validation loss %.4f (best %d), %.0f tokens/s, %.0f cpu-s",
            task.name, task.seed, row.epoch, settings.epochs, row.train_loss, row.validation_loss,
            progress.best_epoch, row.tokens_per_second, row.cpu_seconds,
        )  # fmt: skip
    model.load_state_dict(best)
    model.train(False)
    return progress


class _Trainer:
    """What stays the same from epoch to epoch."""

    def __init__(
        self,
        task: Task[GeneratorRecipe],
        model: PreTrainedModel,
        prompts: QueryPrompts,
        machine: Machine,
        optimizer: torch.optim.Optimizer,
    ) -> None:
        self.task, self.model, self.prompts, self.machine, self.optimizer = task, model, prompts, machine, optimizer
        self.settings = task.recipe.training

    def epoch(self, epoch: int, held_out: Sequence[Example], clock: float) -> GeneratorEpoch:
        """Train once over the users, and validate.

        Args:
            epoch: from 1.
            held_out: examples of the validation users.
            clock: the process time at which this training would have begun.
        """
        random = numpy.random.default_rng([self.task.seed, _DRAWS["examples"], epoch])
        torch.manual_seed(int(random.integers(2**63)))  # dropout
        examples = draw_examples(self.task.dataset, self.settings.examples, self.prompts, random)
        batches = self._batches(examples, random)
        total = torch.zeros((), dtype=torch.float64, device=self.machine.device)
        tokens = sum(len(example.tokens) for example in examples)
        targets, began = 0, time.perf_counter()
        self.model.train()
        name = f"{self.task.name} seed {self.task.seed} epoch {epoch}/{self.settings.epochs}"
        with tqdm(batches, desc=name, leave=False) as bar:
            for step, rows in enumerate(bar):
                self._set_learning_rate((epoch - 1 + step / len(batches)) / self.settings.epochs)
                loss, count = self._loss(rows, self.settings.loss_on)
                (loss / count).backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_norm)
                self.optimizer.step()
                self.optimizer.zero_grad(set_to_none=True)
                total += loss.detach()
                targets += count
                if step % _LOOK_EVERY == 0 or step + 1 == len(batches):
                    mean = total.item() / targets
                    if not math.isfinite(mean):
                        raise self._diverged(mean, epoch)
                    bar.set_postfix({"loss": f"{mean:.4f}"}, refresh=False)
        seconds = time.perf_counter() - began
        return GeneratorEpoch(
            epoch=epoch,
            steps=len(batches),
            train_loss=mean,
            validation_loss=self._validate(held_out),
            tokens_per_second=tokens / seconds,
            cpu_seconds=time.process_time() - clock,
        )

    def _validate(self, held_out: Sequence[Example]) -> float:
        self.model.train(False)
        total, targets = 0.0, 0
        with torch.inference_mode():
            for rows in self._batches(held_out):
                loss, count = self._loss(rows, "title")
                total += loss.item()
                targets += count
        return total / targets

    def _batches(
        self, examples: Sequence[Example], random: numpy.random.Generator | None = None
    ) -> list[list[Example]]:
        lengths = numpy.array([len(example.tokens) for example in examples])
        batches = length_buckets(lengths, self.settings.tokens_per_batch, self.settings.rows_per_batch, random)
        return [[examples[row] for row in rows.tolist()] for rows in batches]

    def _loss(self, examples: Sequence[Example], loss_on: str) -> tuple[Tensor, int]:
        """Return the sum of the losses, nats, and of how many tokens it is."""
        device = self.machine.device
        tokens, mask, counted = (part.to(device) for part in pad_right(examples, loss_on))  # each (B, L)
        with self.machine.numbers():
            # What the transformer calls its own loss would hold logits of the prompt, most of them for nothing.
            hidden = self.model.base_model(input_ids=tokens, attention_mask=mask, use_cache=False).last_hidden_state
            head: nn.Module = self.model.get_output_embeddings()  # type: ignore[no-untyped-call] # left untyped
            logits = head(hidden[:, :-1][counted[:, 1:]])  # (targets, W)
        loss = functional.cross_entropy(logits.float(), tokens[:, 1:][counted[:, 1:]], reduction="sum")
        return loss, len(logits)

    def _set_learning_rate(self, passed: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * rate_share(self.settings, passed)

    def _diverged(self, loss: float, epoch: int) -> InputError:
        return InputError(
            f"{self.task.name} diverged: the loss became {loss} in epoch {epoch}; start again with a lower rate, such "
            f"as --overrides training.learning_rate={self.settings.learning_rate / 4:g}, and another --checkpoint-dir"
        )


def rate_share(settings: GeneratorTraining, passed: float) -> float:
    """Return the share of the peak learning rate after the share ``passed`` of the training.

    >>> [rate_share(GeneratorTraining(warmup=0.2), passed) for passed in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if passed < settings.warmup:
        return passed / settings.warmup
    return (1 - passed) / (1 - settings.warmup)


def draw_examples(
    dataset: SequenceDataset, per_user: int, prompts: QueryPrompts, random: numpy.random.Generator
) -> list[Example]:
    """Return examples of every user's training items, each with another target, at most ``per_user`` a user."""
    examples = []
    for user in numpy.flatnonzero(dataset.train_length >= 2):
        length = int(dataset.train_length[user])
        positions = random.choice(length - 1, size=min(per_user, length - 1), replace=False) + 1
        examples += [prompts.example(*history_and_target(dataset, int(user), int(place))) for place in positions]
    return examples


def pad_right(examples: Sequence[Example], loss_on: str) -> tuple[Tensor, Tensor, Tensor]:
    """Return token ids, a mask of what is no padding, and which tokens are to be predicted, each (B, L).

    Padding is token 0: behind a causal model's text it changes nothing and is predicted nowhere.
    """
    lengths = [len(example.tokens) for example in examples]
    tokens = torch.zeros(len(examples), max(lengths), dtype=torch.int64)
    counted = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        tokens[row, : lengths[row]] = torch.tensor(example.tokens)
        counted[row, example.answer_start if loss_on == "title" else 1 : lengths[row]] = True
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return tokens, mask.long(), counted

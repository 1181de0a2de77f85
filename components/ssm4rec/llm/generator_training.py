"""Fine-tuning of a generator by transformers' Trainer: new examples in every epoch, validation loss, early stopping.

Everything random is drawn from (seed, epoch), so a training that was killed and resumed ends with the same weights as
one that was not, on the same machine with the same number of threads.

The points of the learning curve are at each epoch's last step: for training the epoch's mean ``loss`` per token trained
on, nats, ``tokens_per_second`` of prompts and answers, trained on or not, and the ``cpu_seconds`` of this process and
its threads since the training's start; for validation the mean ``loss`` per token of the validation users' next titles.

Shapes: B rows of a batch, L its longest row, W vocabulary.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, IterableDataset
from transformers import PreTrainedModel, TrainingArguments

from ssm4rec.artifacts.curve import TRAIN, Point
from ssm4rec.data.batches import length_buckets
from ssm4rec.llm.generator_settings import GeneratorRecipe, GeneratorTraining
from ssm4rec.llm.queries import DRAWS, Example, QueryPrompts, draw_examples, draw_users, histories_and_targets
from ssm4rec.llm.validated_trainer import Trained, ValidatedTrainer, training_arguments
from ssm4rec.llm.validation_callback import ValidationCallback
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.task import Task

_LOG_EVERY = 20
"""Steps between two checks of the loss within an epoch: each waits for a GPU."""


def train_generator(
    task: Task[GeneratorRecipe],
    model: PreTrainedModel,
    prompts: QueryPrompts,
    distributed: Distributed,
    folder: Path,
    on_point: Callable[[Point], None],
) -> Trained:
    """Train a float32 model in one process; see :class:`ValidationCallback` for the last two arguments.

    Raise InputError if nobody has two training items, no user is in the validation split, the checkpoint is of another
    task, or the loss became NaN.
    """
    identity = task.identity()
    del identity["dataset"]  # what the data are called decides nothing: their fingerprint says which they are
    callback = ValidationCallback(folder, identity, on_point, task.recipe.training.patience)
    return _GeneratorTrainer(task, model, prompts, distributed, callback).run()


class _GeneratorTrainer(ValidatedTrainer):
    """Takes its batches and its rate from :class:`_Epochs`; Trainer sees one epoch that is all of these."""

    measure = "loss"
    lower_is_better = True
    validates_first = False

    def __init__(
        self,
        task: Task[GeneratorRecipe],
        model: PreTrainedModel,
        prompts: QueryPrompts,
        distributed: Distributed,
        callback: ValidationCallback,
    ) -> None:
        settings, dataset = task.recipe.training, task.dataset
        self.distributed, self.settings, self.title = distributed, settings, f"{task.name} seed {task.seed}"
        lower = f"--overrides training.learning_rate={settings.learning_rate / 4:g}"
        self.remedy = f"a lower rate, such as {lower}, and another --checkpoint-dir"
        examples = numpy.minimum(settings.examples, dataset.train_length - 1).clip(0).sum()
        if not examples:
            raise InputError(f"data set {dataset.name}: no user has two training items; nothing can be learned")
        users = draw_users(dataset, "validation", settings.validation_users, task.seed)
        if not len(users):
            raise InputError(f"data set {dataset.name}: no user is in the validation split; prepare it with one")
        self.held_out = [prompts.example(*one) for one in histories_and_targets(dataset, "validation", users)]
        self.epochs = _Epochs(task, prompts)
        optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        schedule = LambdaLR(optimizer, lambda step: rate_share(settings, self.epochs.passed(step)))
        super().__init__(
            callback,
            model=model,
            args=training_arguments(
                TrainingArguments,
                callback.folder,
                distributed.device,
                max_steps=settings.epochs * int(examples),  # no batch is empty
                max_grad_norm=settings.gradient_norm,
                logging_steps=_LOG_EVERY,
                ignore_data_skip=True,  # a resumed training draws the examples of the epochs that are left
                bf16=False,  # the machine says what the loss is computed in
            ),
            train_dataset=self.epochs,
            optimizers=(optimizer, schedule),
        )

    def get_train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Return the batches as they are, none of them before its turn, from where the checkpoint left them."""
        self.epochs.ends += [point.step for point in self.callback.validations]
        spent = [point.measured["cpu_seconds"] for point in self.callback.points if point.split == TRAIN]
        self.clock = time.process_time() - (spent[-1] if spent else 0.0)
        self._begin_epoch()
        return DataLoader(self.epochs, batch_size=None)

    def is_due(self, step: int) -> bool:
        return step == self.epochs.ends[-1]

    def is_last(self, step: int) -> bool:
        return self.is_due(step) and self.epochs.drawn == self.settings.epochs

    def expected_steps(self, step: int) -> int:
        return round(step / self.epochs.passed(step))

    def validate(self) -> dict[str, float]:
        self.model.train(False)
        total, targets = 0.0, 0
        with torch.inference_mode():
            for rows in batches(self.held_out, self.settings):
                loss, count = self._loss(pad_right(rows, "title"))
                total += loss.item()
                targets += count
        return {"epoch": self.epochs.drawn, "loss": total / targets}

    def training_numbers(self, logs: dict[str, float]) -> dict[str, float]:
        del logs
        if not self.is_due(self.state.global_step):
            return {}
        tokens, seconds = self.tokens - self._tokens_before, self.callback.seconds - self._seconds_before
        numbers = {
            "epoch": self.epochs.drawn,
            "loss": self._total.item() / self._targets,
            "cpu_seconds": time.process_time() - self.clock,
            "tokens_per_second": tokens / seconds,
        }
        self._begin_epoch()
        return numbers

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        del model, return_outputs, num_items_in_batch
        loss, count = self._loss(inputs)
        self.tokens += int(inputs["attention_mask"].sum())
        self._total += loss.detach()
        self._targets += count
        return loss / count

    def _begin_epoch(self) -> None:
        self._total = torch.zeros((), dtype=torch.float64, device=self.distributed.device)
        self._targets = 0
        self._tokens_before, self._seconds_before = self.tokens, self.callback.seconds

    def _loss(self, inputs: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Return the sum of the losses, nats, and of how many tokens it is."""
        given = {name: part.to(self.distributed.device) for name, part in inputs.items()}
        tokens, counted = given["input_ids"], given["counted"][:, 1:]  # (B, L), (B, L - 1)
        with self.distributed.autocast():
            # What the transformer calls its own loss would hold logits of the prompt, most of them for nothing.
            hidden = self.model.base_model(
                input_ids=tokens, attention_mask=given["attention_mask"], use_cache=False
            ).last_hidden_state
            head: nn.Module = self.model.get_output_embeddings()
            logits = head(hidden[:, :-1][counted])  # (targets, W)
        return functional.cross_entropy(logits.float(), tokens[:, 1:][counted], reduction="sum"), len(logits)


class _Epochs(IterableDataset[dict[str, Tensor]]):
    """The batches of all epochs one after the other; an epoch's examples are drawn when it begins.

    ``ends``: 0, and the optimizer steps taken at the end of every epoch that was drawn.
    """

    def __init__(self, task: Task[GeneratorRecipe], prompts: QueryPrompts) -> None:
        self.task, self.prompts, self.ends = task, prompts, [0]

    @property
    def drawn(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        settings = self.task.recipe.training
        while self.drawn < settings.epochs:
            rng = numpy.random.default_rng([self.task.seed, DRAWS["examples"], self.drawn + 1])
            torch.manual_seed(int(rng.integers(2**63)))  # dropout
            drawn = batches(draw_examples(self.task.dataset, settings.examples, self.prompts, rng), settings, rng)
            self.ends.append(self.ends[-1] + len(drawn))
            for rows in drawn:
                yield pad_right(rows, settings.loss_on)

    def passed(self, step: int) -> float:
        """Return the share of the training that is over after a step; every epoch is the same share."""
        epochs = self.task.recipe.training.epochs
        if step == self.ends[-1]:
            return self.drawn / epochs
        first = self.ends[-2]
        return (self.drawn - 1 + (step - first) / (self.ends[-1] - first)) / epochs


def rate_share(settings: GeneratorTraining, passed: float) -> float:
    """Return the share of the peak learning rate after the share ``passed`` of the training.

    >>> [rate_share(GeneratorTraining(warmup=0.2), passed) for passed in (0.0, 0.1, 0.2, 0.6, 1.0)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """
    if passed < settings.warmup:
        return passed / settings.warmup
    return (1 - passed) / (1 - settings.warmup)


def batches(
    examples: Sequence[Example], settings: GeneratorTraining, rng: numpy.random.Generator | None = None
) -> list[list[Example]]:
    """Return batches of examples of like length, in a random order or, without ``rng``, by length."""
    lengths = numpy.array([len(example.tokens) for example in examples])
    found = length_buckets(lengths, settings.tokens_per_batch, settings.rows_per_batch, rng)
    return [[examples[row] for row in rows.tolist()] for rows in found]


def pad_right(examples: Sequence[Example], loss_on: str) -> dict[str, Tensor]:
    """Return token ids, a mask of what is not padding, and which tokens are ``counted``, to be predicted, each (B, L).

    Padding is token 0: behind a causal model's text it changes nothing and is predicted nowhere.
    """
    lengths = [len(example.tokens) for example in examples]
    tokens = torch.zeros(len(examples), max(lengths), dtype=torch.int64)
    counted = torch.zeros(tokens.shape, dtype=torch.bool)
    for row, example in enumerate(examples):
        tokens[row, : lengths[row]] = torch.tensor(example.tokens)
        counted[row, example.answer_start if loss_on == "title" else 1 : lengths[row]] = True
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return {"input_ids": tokens, "attention_mask": mask.long(), "counted": counted}

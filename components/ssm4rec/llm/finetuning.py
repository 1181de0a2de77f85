"""Fine-tuning of a ranker on the letters of the right candidates, by transformers' Trainer.

Trainer does the bookkeeping: accumulation, schedule, clipping, checkpoints, resuming. trl's SFTTrainer (1.16), made for
this, scores every position of a prompt where there is no GPU; of some hundred positions two are of use here, the letter
and the end after it, so the loss is computed on these alone.

The weights kept are those whose ranking of validation users was best (NDCG@10 among the candidates, shuffled) of all
validations after the first step, as in LlamaRec: whether they beat the model as it came is for the report to say.

The points of the learning curve: ``loss`` (mean over the steps since the point before, nats per token of the answer,
which is the letter and the end after it), ``letter_loss`` (of the letter alone: the end is soon learned and says
nothing), ``learning_rate`` (USGM's is 1 / H), ``grad_norm``; and ``ndcg@10`` of the validation users.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainingArguments

from ssm4rec.artifacts.curve import Point
from ssm4rec.artifacts.rankings import SHUFFLED_ORDER
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.llm.adapters import LetterRanker
from ssm4rec.llm.candidates import RankingTask
from ssm4rec.llm.examples import Example
from ssm4rec.llm.prompts import RankingPrompts
from ssm4rec.llm.ranking import answer_logits, padded, questions, ranks_of_target
from ssm4rec.llm.settings import RankerSettings, StepSettings
from ssm4rec.llm.validated_trainer import Trained, ValidatedTrainer, step_arguments, training_arguments
from ssm4rec.llm.validation_callback import ValidationCallback
from ssm4rec.optim.usgm import USGM, GradientNotFiniteError


@dataclass(frozen=True)
class FinetuningTask:
    """What to fine-tune a ranker on: examples in the order of training, whose prompts are written batch by batch."""

    prompts: RankingPrompts
    examples: Sequence[Example]
    validation: RankingTask
    settings: RankerSettings
    seed: int


def finetune(
    ranker: LetterRanker,
    task: FinetuningTask,
    folder: Path,
    identity: dict[str, Any],
    on_point: Callable[[Point], None],
) -> Trained:
    """Train a ranker with fresh LoRA matrices; see :class:`ValidationCallback` for the other arguments.

    Raise InputError if the checkpoint is of another training, or the loss became NaN.
    """
    trainer = _RankerTrainer(ranker, task, ValidationCallback(folder, identity, on_point, task.settings.patience))
    try:
        return trainer.run()
    except GradientNotFiniteError as error:
        raise trainer.diverged(str(error)) from None


class _RankerTrainer(ValidatedTrainer):
    """Computes logits of the answer's positions only, and keeps the order of the examples."""

    measure = "ndcg@10"
    title = "fine-tuning"

    def __init__(self, ranker: LetterRanker, task: FinetuningTask, callback: ValidationCallback) -> None:
        settings, prompts, validation = task.settings.steps, task.prompts, task.validation
        if settings.optimizer == "usgm":
            lower = f"a smaller ball, such as --overrides finetune.steps.diameter={settings.diameter / 4:g}"
        else:
            lower = f"a lower rate, such as --overrides finetune.steps.learning_rate={settings.learning_rate / 4:g}"
        self.remedy = f"{lower}, and another --checkpoint-dir"
        steps = math.ceil(len(task.examples) / settings.prompts)
        self.every = max(1, steps // task.settings.evaluations)
        self.validation = validation
        self.asked = questions(prompts, validation, [SHUFFLED_ORDER])
        self._letter_losses: list[torch.Tensor] = []
        trained = [parameter for parameter in ranker.model.parameters() if parameter.requires_grad]
        super().__init__(
            callback,
            model=ranker.model,
            args=arguments(settings, callback.folder, ranker.model.device, steps, task.seed),
            train_dataset=task.examples,
            data_collator=partial(_collate, prompts),
            optimizers=_usgm(trained, settings.diameter) if settings.optimizer == "usgm" else (None, None),
        )

    def validate(self) -> dict[str, float]:
        scores = answer_logits(self.model, self.asked.users, self.asked.answers, lambda _: None)
        sizes, places = self.validation.sizes, self.validation.places(SHUFFLED_ORDER)[:, None]
        return {"ndcg@10": metric_at("ndcg", ranks_of_target(scores, sizes, places)[:, 0], 10)}

    def training_numbers(self, logs: dict[str, float]) -> dict[str, float]:
        letter_loss = torch.stack(self._letter_losses).mean().item()
        self._letter_losses = []
        logged = {name: logs[name] for name in ("loss", "grad_norm", "learning_rate") if name in logs}
        return logged | {"letter_loss": letter_loss}

    def is_due(self, step: int) -> bool:
        return step % self.every == 0

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        del return_outputs
        labels = inputs.pop("labels")
        self.tokens += int(inputs["attention_mask"].sum())
        logits = model(**inputs, logits_to_keep=labels.shape[1], use_cache=False).logits
        # The logits at a position are of the token after it.
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="none"
        ).view(-1, labels.shape[1] - 1)
        self._letter_losses.append(losses[:, 0].detach().mean())
        return losses.sum() / (num_items_in_batch if num_items_in_batch is not None else losses.numel())


def arguments(settings: StepSettings, folder: Path, device: torch.device, steps: int, seed: int) -> TrainingArguments:
    """Return Trainer's arguments for a fine-tuning of so many steps."""
    given = step_arguments(settings, device)
    if settings.optimizer == "usgm":  # which Trainer is given itself, and which cuts no gradient
        given |= {"optim": "adamw_torch", "max_grad_norm": 0.0}
    return training_arguments(
        TrainingArguments,
        folder,
        device,
        max_steps=steps,
        logging_steps=max(1, min(20, steps // 10)),
        train_sampling_strategy="sequential",
        seed=seed,
        **given,
    )


class _StepLength:
    """A schedule in name only, which Trainer asks for: the rate that USGM's own bookkeeping came to, 1 / H."""

    def __init__(self, optimizer: USGM) -> None:
        self.optimizer = optimizer

    def step(self) -> None:
        """Do nothing: H has grown in the optimizer's step."""

    def get_last_lr(self) -> list[float]:
        """Return 1 / H; 0 while H is zero, when the first step goes to the ball's surface whatever the gradient."""
        return [1 / self.optimizer.curvature if self.optimizer.curvature else 0.0]

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the optimizer's state has it all."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing back."""


def _usgm(weights: list[nn.Parameter], diameter: float) -> tuple[USGM, _StepLength]:
    """Return the optimizer of an adapter's weights; the diameter is in norms of these, half of which are zero."""
    optimizer = USGM(weights, diameter * float(nn.utils.get_total_norm(weights)))
    return optimizer, _StepLength(optimizer)


def _collate(prompts: RankingPrompts, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
    """Return a batch, padded on the left, so that all answers end at the last position.

    ``labels``: the last token of each prompt, the letter of the answer, and the end.
    """
    told = [prompts.tokens(example.history, example.candidates) for example in examples]
    answers = [[prompts.letters[example.place], *prompts.ending] for example in examples]
    rows = list(zip(told, answers, strict=True))
    tokens, mask = padded([prompt + answer for prompt, answer in rows], torch.device("cpu"))
    labels = torch.tensor([[prompt[-1], *answer] for prompt, answer in rows])
    return {"input_ids": tokens, "attention_mask": mask, "labels": labels}

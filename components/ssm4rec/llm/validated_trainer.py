"""What the trainings of language models share: transformers' Trainer with one callback, silent and on one device."""

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from peft import PeftModel
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainingArguments

from ssm4rec.artifacts.curve import VALIDATION, Point, Split
from ssm4rec.llm.settings import StepSettings
from ssm4rec.llm.validation_callback import WRITING, ValidationCallback, weights_file
from ssm4rec.runtime.errors import InputError

logger = logging.getLogger(__name__)

Arguments = TypeVar("Arguments", bound=TrainingArguments)


@dataclass(frozen=True)
class Trained:
    """How a training went; the model has the weights of ``best``.

    Attributes:
        points: of the learning curve, those of earlier processes included.
        best: the validation that decided which weights are kept.
        seconds: of the optimizer's steps in this process, without validation and checkpoints.
        tokens: that went through the model in these seconds, without padding.
        peak_memory_bytes: of the GPU; 0 on a CPU.
    """

    points: tuple[Point, ...]
    best: Point
    last: Point
    seconds: float
    tokens: int
    peak_memory_bytes: int

    @property
    def tokens_per_second(self) -> float:
        """Tokens trained on per second; 0 if everything was in the checkpoint."""
        return self.tokens / self.seconds if self.seconds else 0.0


class ValidatedTrainer(Trainer, ABC):
    """A trainer with a :class:`ValidationCallback`; subclasses say when and how to validate.

    Attributes:
        split: what the numbers of a validation are of.
        measure: the number whose best decides which weights are kept; "": the last ones are.
        validates_first: also before the first step.
        remedy: what to start a training with that diverged.
        tokens: that went through the model to train it in this process, without padding.
    """

    model: Any  # transformers' type allows None, which it is nowhere here
    split: Split = VALIDATION
    measure = ""
    lower_is_better = False
    validates_first = True
    title: str
    remedy: str
    tokens = 0

    def __init__(self, callback: ValidationCallback, **more: Any) -> None:
        super().__init__(callbacks=[callback], **more)
        self.remove_callback(PrinterCallback)
        self.callback, callback.trainer = callback, self

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Return the numbers of a validation with the present weights, by their names in a learning curve."""

    @abstractmethod
    def training_numbers(self, logs: dict[str, float]) -> dict[str, float]:
        """Return Trainer's logs of the last steps by their names in a learning curve; nothing: no point of it."""

    @abstractmethod
    def is_due(self, step: int) -> bool:
        """Return whether to validate and write a checkpoint after this step; after the last one both are done."""

    def is_last(self, step: int) -> bool:
        """Return whether the training ends after this step."""
        return step == self.state.max_steps

    def expected_steps(self, step: int) -> int:  # noqa: ARG002 - for those who learn it on their way
        """Return how many steps the training will have, as far as that is known after this one."""
        return self.state.max_steps

    def diverged(self, what: str) -> InputError:
        """Return the error of a training whose numbers became NaN or infinite."""
        return InputError(f"{self.title} diverged: {what}; start again with {self.remedy}")

    def run(self) -> Trained:
        """Train to the end, from the newest checkpoint if there is one; the model gets the best weights.

        Raise InputError if the checkpoint is of another training, or the training diverged.
        """
        callback, on_gpu = self.callback, self.args.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        # The bar is closed before an error is said, which is then the last line.
        with tqdm(desc=self.title, unit="step", leave=False, disable=None) as callback.bar:
            checkpoint = callback.resume()
            if not callback.finished:
                self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        callback.restore_best(self.model)
        return Trained(
            points=tuple(callback.points),
            best=callback.best,
            last=callback.validations[-1],
            seconds=callback.seconds,
            tokens=self.tokens,
            peak_memory_bytes=torch.cuda.max_memory_allocated() if on_gpu else 0,
        )

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write the weights; Trainer would add a pickle of its arguments, and ask the hub about the embeddings."""
        if isinstance(self.model, PeftModel):
            self.model.save_pretrained(str(output_dir), state_dict=state_dict, save_embedding_layers=False)
        else:
            folder = Path(str(output_dir))
            folder.mkdir(parents=True)
            (folder / "model.safetensors").write_bytes(weights_file(self.model.state_dict()))


def training_arguments(kind: type[Arguments], folder: Path, device: torch.device, **more: Any) -> Arguments:
    """Return Trainer's arguments: silent, untracked, checkpoints when the callback says so, on at most one GPU.

    With several GPUs Trainer would spread each step over all of them, with a batch of the given size on each: another
    training than the one asked for.
    """
    on_gpu = device.type == "cuda"
    given: dict[str, Any] = {"bf16": on_gpu, **more}
    arguments = kind(
        output_dir=str(folder / WRITING),
        save_strategy="no",
        use_cpu=not on_gpu,
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=on_gpu,
        logging_nan_inf_filter=False,  # a loss that is NaN must be seen
        **given,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def optimizer_name(settings: StepSettings, device: torch.device) -> str:
    """Return the optimizer that transformers takes: paged ones need a GPU, whose memory they swap."""
    paged = settings.optimizer.startswith("paged")
    return "adamw_torch" if paged and device.type != "cuda" else settings.optimizer


def step_arguments(settings: StepSettings, device: torch.device) -> dict[str, Any]:
    """Return the arguments that say how steps are taken."""
    optimizer = optimizer_name(settings, device)
    if optimizer != settings.optimizer:
        logger.info("optimizer %s instead of %s, which needs a GPU", optimizer, settings.optimizer)
    return {
        "per_device_train_batch_size": settings.batch,
        "per_device_eval_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.accumulation,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": "linear",
        "warmup_steps": settings.warmup,
        "optim": optimizer,
        "max_grad_norm": settings.gradient_norm,
    }

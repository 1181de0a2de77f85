"""Alignment of a ranker: ORPO over preference examples, looks at held-out ones, checkpoints (the paper's section 3.5).

A killed alignment goes on after its last look and ends with the same weights, on the same machine with as many
threads: the order of the examples is drawn from the seed, and nothing else is random. Checkpoints are transformers':
weights in safetensors, the optimizer's moments in torch's format, which is read back as tensors only.
"""

# ruff: noqa: ARG002 - a callback's arguments are transformers'

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import datasets  # type: ignore[import-untyped]
import torch
import transformers
from datasets import Dataset
from peft import PeftModel
from tqdm.auto import tqdm
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.training_args import OptimizerNames

from ssm4rec.errors import InputError
from ssm4rec.files import read_json, write_json
from ssm4rec.llm.adapters import Ranker
from ssm4rec.llm.alignment_history import HELD_OUT, TRAIN, AlignmentRow
from ssm4rec.llm.language_models import memory_advice
from ssm4rec.llm.orpo import AnswerORPOTrainer, ORPOConfig, sequence_error
from ssm4rec.llm.preference_examples import PreferenceExample, PreferenceSet
from ssm4rec.llm.settings import AlignmentSettings

logger = logging.getLogger(__name__)

_IDENTITY: Final = "identity.json"
_STATE: Final = "trainer_state.json"
_ROWS_LOGGED: Final = 0.01
"""Share of the steps between two training rows."""
_LARGEST_ERROR: Final = 0.1
"""Of logits; rounding to bfloat16 makes about 0.01."""


@dataclass(frozen=True)
class Alignment:
    """How an alignment went.

    Attributes:
        rows: its history.
        steps: of the optimizer.
        optimizer: that took them.
        seconds: of training steps of this process, looks and checkpoints left out; 0: all was in the checkpoint.
        tokens: through the model in these seconds, each prompt once for its two answers.
        peak_memory: bytes of a GPU; 0 on a CPU.
    """

    rows: list[AlignmentRow]
    steps: int
    optimizer: str
    seconds: float
    tokens: int
    peak_memory: int

    @property
    def tokens_per_second(self) -> float:
        """Tokens of pairs trained on in a second."""
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class AlignmentTask:
    """These examples of this data set, in an order drawn by this seed."""

    dataset: str
    examples: PreferenceSet
    settings: AlignmentSettings
    seed: int


def align(
    ranker: Ranker, task: AlignmentTask, checkpoint_folder: Path, on_row: Callable[[AlignmentRow], None]
) -> Alignment:
    """Train the ranker's adapter in place, from the checkpoint in ``checkpoint_folder`` if there is one.

    Args:
        ranker: a trainable one.
        task: what to train on, and how.
        checkpoint_folder: written after every look.
        on_row: called with every row of the history, those of an earlier process included.

    Raises:
        InputError: the checkpoint is of another alignment, the loss is no number, or the GPU's memory is too small.
    """
    checkpoint = _checkpoint(checkpoint_folder, _identity(ranker, task))
    on_gpu = ranker.model.device.type == "cuda"
    course = _Course(task, on_row)
    with _quiet():
        trainer = orpo_trainer(ranker, task, checkpoint_folder, resumed=checkpoint is not None, callbacks=[course])
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        if checkpoint:
            logger.info("resumed from %s", checkpoint)
        with memory_advice("align.steps.batch, align.prompt.maximum_tokens or align.prompt.history (--overrides)"):
            _check_attention(ranker.model, task.examples.train)
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    ranker.model.eval()
    return Alignment(
        rows=course.rows,
        steps=trainer.state.global_step,
        optimizer=OptimizerNames(trainer.args.optim).value,
        seconds=course.seconds,
        tokens=trainer.tokens_trained,
        peak_memory=torch.cuda.max_memory_allocated() if on_gpu else 0,
    )


def orpo_trainer(
    ranker: Ranker, task: AlignmentTask, folder: Path, resumed: bool, callbacks: list[TrainerCallback]
) -> AnswerORPOTrainer:
    """Return trl's trainer for a task; it looks at the held-out examples before the first step, unless resumed."""
    trainer = AnswerORPOTrainer(
        model=ranker.model,
        args=_arguments(task, folder, ranker.model.device, resumed),
        train_dataset=_dataset(task.examples.train),
        eval_dataset=_dataset(task.examples.held_out),
        processing_class=ranker.tokenizer,
        callbacks=callbacks,
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def alignment_row(task: AlignmentTask, logs: dict[str, Any], step: int) -> AlignmentRow | None:
    """Return what trl logged as a row; None if it is neither of training nor of a look."""
    if "loss" in logs:
        split, prefix = TRAIN, ""
    elif "eval_loss" in logs:
        split, prefix = HELD_OUT, "eval_"
    else:
        return None
    # trl calls the log of the odds ratio "log_odds_chosen", and its logsigmoid, minus equation 6, "log_odds_ratio".
    nll, odds_ratio_loss = logs[f"{prefix}nll_loss"], -logs[f"{prefix}log_odds_ratio"]
    return AlignmentRow(
        dataset=task.dataset,
        seed=task.seed,
        step=step,
        epoch=logs.get("epoch", 0.0),
        split=split,
        # Not the trainer's own number: a mean over batches.
        loss=nll + task.settings.beta * odds_ratio_loss,
        nll=nll,
        odds_ratio_loss=odds_ratio_loss,
        log_odds_ratio=logs[f"{prefix}log_odds_chosen"],
        margin=logs[f"{prefix}rewards/margins"],
        accuracy=logs[f"{prefix}rewards/accuracies"],
        learning_rate=logs.get("learning_rate"),
    )


class _Course(TrainerCallback):
    """Looks and checkpoints at even distances, rows of the history, a progress bar, and the time of the steps."""

    def __init__(self, task: AlignmentTask, on_row: Callable[[AlignmentRow], None]) -> None:
        self.task, self.on_row = task, on_row
        self.rows: list[AlignmentRow] = []
        self.seconds = 0.0
        self._started = 0.0
        self._bar: tqdm = tqdm(disable=True)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="align", unit="step", leave=False)
        for logs in state.log_history:  # of an earlier process
            self._add(logs, int(logs["step"]))

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._started = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self.seconds += time.perf_counter() - self._started
        self._bar.update()
        looks = self.task.settings.evaluations
        if state.global_step in {round(look * state.max_steps / looks) for look in range(1, looks + 1)}:
            control.should_log = control.should_evaluate = control.should_save = True

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self._add(logs or {}, state.global_step)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._bar.close()

    def _add(self, logs: dict[str, Any], step: int) -> None:
        row = alignment_row(self.task, logs, step)
        if row is None:
            return
        if row.loss != row.loss:
            raise InputError(
                f"the loss of step {step} is no number; lower align.steps.learning_rate (--overrides), or fine-tune "
                "the ranker again"
            )
        self.rows.append(row)
        self.on_row(row)
        if row.split == HELD_OUT:
            logger.info(
                "step %d, epoch %.2f, held-out pairs: loss %.4f, nll %.4f, log odds ratio %+.4f, accuracy %.1f%%",
                row.step, row.epoch, row.loss, row.nll, row.log_odds_ratio, 100 * row.accuracy,
            )  # fmt: skip


def _check_attention(model: PeftModel, examples: list[PreferenceExample]) -> None:
    """Raise InputError if two answers after one prompt are not what they are alone, by the longest example."""
    longest = max(examples, key=lambda example: len(example.prompt))
    error = sequence_error(model, **asdict(longest))
    if error > _LARGEST_ERROR:
        raise InputError(
            f"a language model of type {model.config.model_type} cannot be aligned: its layers do not attend as a mask "
            f"says over {len(longest.prompt)} tokens (relative error {error:.2f}); take another one, or lower "
            "align.prompt.history (--overrides)"
        )


def _arguments(task: AlignmentTask, folder: Path, device: torch.device, resumed: bool) -> ORPOConfig:
    settings, steps, on_gpu = task.settings, task.settings.steps, device.type == "cuda"
    return ORPOConfig(
        output_dir=str(folder),
        beta=settings.beta,
        num_train_epochs=1,
        per_device_train_batch_size=steps.batch,
        per_device_eval_batch_size=steps.batch,
        gradient_accumulation_steps=steps.accumulation,
        learning_rate=steps.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=steps.warmup,
        optim=_optimizer(steps.optimizer, device),
        max_grad_norm=steps.gradient_norm,
        seed=task.seed,
        logging_steps=_ROWS_LOGGED,
        eval_on_start=not resumed,
        # When to look and to save is decided in _Course.
        eval_strategy="no",
        save_strategy="no",
        save_total_limit=1,
        prediction_loss_only=True,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        activation_checkpointing=on_gpu,
        dataloader_pin_memory=on_gpu,
        label_names=[],
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the libraries say of themselves: bars over examples, defaults that differ from theirs."""
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity(logging.ERROR)  # its levels are Python's
    logging.getLogger("trl").setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(verbosity)


def _optimizer(name: str, device: torch.device) -> str:
    if device.type == "cuda" or not name.startswith("paged"):
        return name
    logger.info("optimizer adamw_torch in place of %s, which pages to a GPU's memory and back", name)
    return "adamw_torch"


def _dataset(examples: list[PreferenceExample]) -> Dataset:
    return Dataset.from_list([asdict(example) for example in examples])


def _identity(ranker: Ranker, task: AlignmentTask) -> dict[str, Any]:
    """Return what a checkpoint must share with an alignment to belong to it, as it looks after a trip through JSON."""
    weights = hashlib.sha256()
    for name, parameter in ranker.model.named_parameters():
        if parameter.requires_grad:
            weights.update(name.encode())
            weights.update(parameter.detach().float().cpu().numpy().tobytes())
    settings = asdict(task.settings)
    document = {
        "seed": task.seed,
        "examples": task.examples.digest(),
        "adapter": weights.hexdigest(),
        **{f"align.{name}": value for name, value in settings.items()},
    }
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]


def _checkpoint(folder: Path, identity: dict[str, Any]) -> Path | None:
    """Return the newest whole checkpoint in a folder, if any, and write down whose folder it is.

    Raises:
        InputError: the folder is of another alignment.
    """
    owner = folder / _IDENTITY
    if owner.exists():
        stored = read_json(owner)
        for name, value in identity.items():
            if stored.get(name) != value:
                raise InputError(
                    f"{folder}: checkpoints of another alignment: {name} is {stored.get(name)} there and {value} here; "
                    "delete it to start anew, or choose another --checkpoint-dir"
                )
    else:
        write_json(owner, identity)
    # The state is written last: a checkpoint without it was cut off.
    whole = [path.parent for path in folder.glob(f"checkpoint-*/{_STATE}") if _is_json(path)]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def _is_json(path: Path) -> bool:
    try:
        read_json(path)
    except InputError:
        return False
    return True

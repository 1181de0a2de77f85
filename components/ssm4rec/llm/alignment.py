"""Alignment of a ranker: ORPO over preference examples, looks at held-out ones, checkpoints (the paper's section 3.5).

A killed alignment goes on after its last look and ends with the same weights, on the same machine with as many
threads: the order of the examples is drawn from the seed, and nothing else is random. Checkpoints are transformers':
weights in safetensors, the optimizer's moments in torch's format, which is read back as tensors only.
"""

import hashlib
import json
import logging
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
from transformers import PrinterCallback, TrainerCallback
from transformers.training_args import OptimizerNames

from ssm4rec.llm.adapters import Ranker
from ssm4rec.llm.alignment_course import AlignmentRow, AlignmentTask, Course
from ssm4rec.llm.language_models import memory_advice, on_one_device, optimizer_name
from ssm4rec.llm.orpo import AnswerORPOTrainer, ORPOConfig, sequence_error
from ssm4rec.llm.preference_examples import PreferenceExample
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import read_json, write_json

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
        rows: its learning curve.
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


def align(
    ranker: Ranker, task: AlignmentTask, checkpoint_folder: Path, on_row: Callable[[AlignmentRow], None]
) -> Alignment:
    """Train the ranker's adapter in place, from the checkpoint in ``checkpoint_folder`` if there is one.

    Args:
        ranker: a trainable one.
        task: what to train on, and how.
        checkpoint_folder: written after every look.
        on_row: called with every row of the learning curve, those of an earlier process included.

    Raises:
        InputError: the checkpoint is of another alignment, the loss is no number, or the GPU's memory is too small.
    """
    checkpoint = _checkpoint(checkpoint_folder, _identity(ranker, task))
    on_gpu = ranker.model.device.type == "cuda"
    course = Course(task, on_row)
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
    arguments = ORPOConfig(
        output_dir=str(folder),
        beta=settings.beta,
        num_train_epochs=1,
        per_device_train_batch_size=steps.batch,
        per_device_eval_batch_size=steps.batch,
        gradient_accumulation_steps=steps.accumulation,
        learning_rate=steps.learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=steps.warmup,
        optim=optimizer_name(steps.optimizer, device),
        max_grad_norm=steps.gradient_norm,
        seed=task.seed,
        logging_steps=_ROWS_LOGGED,
        eval_on_start=not resumed,
        # When to look and to save is decided in Course.
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
    return on_one_device(arguments)


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

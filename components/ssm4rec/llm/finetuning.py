"""Fine-tuning of a ranker on the letters of the right candidates, by transformers' Trainer.

Trainer keeps the accounts: accumulation, schedule, clipping, checkpoints, resuming. trl's SFTTrainer (1.16), made for
this, scores every position of a prompt where there is no GPU; of some hundred positions two are of use here, the letter
and the end after it, so the loss is computed on these alone.

The weights kept are those whose ranking of validation users was best (NDCG@10 among the candidates, shuffled) of all
looks after the first step, as in LlamaRec: whether they beat the model as it came is for the report to say.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import PeftModel
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from ssm4rec.llm.adapters import Ranker
from ssm4rec.llm.candidates import RankingTask
from ssm4rec.llm.examples import Example
from ssm4rec.llm.language_models import on_one_device, optimizer_name
from ssm4rec.llm.prompts import RankingPrompts
from ssm4rec.llm.settings import RankerSettings, StepSettings
from ssm4rec.llm.tuning_optimizer import usgm_for
from ssm4rec.llm.tuning_watch import TuningRow, TuningWatch, diverged
from ssm4rec.optim.usgm import GradientNotFiniteError


@dataclass(frozen=True)
class Finetuned:
    """How a fine-tuning went; the ranker's model has the best weights.

    Attributes:
        rows: one for each logged step and for each look at the validation users.
        best_prompts: training prompts behind the best weights.
        best_ndcg_10: of the validation users.
        prompts: training prompts seen.
        seconds: of this process.
        tokens_per_second: of training alone, in this process.
        peak_memory_bytes: of the GPU; 0 on a CPU.
    """

    rows: tuple[TuningRow, ...]
    best_prompts: int
    best_ndcg_10: float
    prompts: int
    seconds: float
    tokens_per_second: float
    peak_memory_bytes: int


def finetune(
    ranker: Ranker,
    prompts: RankingPrompts,
    examples: Sequence[Example],
    validation: RankingTask,
    settings: RankerSettings,
    checkpoint_folder: Path,
    identity: dict[str, Any],
    seed: int,
    on_row: Callable[[TuningRow], None],
) -> Finetuned:
    """Train to the end, from the checkpoint in ``checkpoint_folder`` if there is one.

    Args:
        ranker: with fresh LoRA matrices; changed in place.
        prompts: writes them.
        examples: in the order of training.
        validation: users to rank.
        settings: of the training.
        checkpoint_folder: written at every look at the validation users.
        identity: what a checkpoint must share with this training to belong to it.
        seed: of dropout.
        on_row: called with every row, those of an earlier process included.

    Raises:
        InputError: the checkpoint is of another training, or the loss became NaN.
    """
    started = time.monotonic()
    steps = math.ceil(len(examples) / (settings.steps.batch * settings.steps.accumulation))
    every = max(1, steps // settings.evaluations)
    watch = TuningWatch(ranker, prompts, validation, settings, checkpoint_folder, every, on_row)
    with watch.bar:  # closed before an error is said, which is then the last line
        resumed = watch.resume(identity)
        if not resumed:
            watch.look(0)
        trained = [parameter for parameter in ranker.model.parameters() if parameter.requires_grad]
        trainer = _AnswerTrainer(
            model=ranker.model,
            args=_arguments(settings.steps, watch.writing, ranker.model.device, steps, seed),
            train_dataset=_Tokenized(prompts, examples, ranker.tokenizer.eos_token_id),
            data_collator=_collate,
            callbacks=[watch],
            optimizers=usgm_for(trained, settings.steps.diameter) if _is_usgm(settings.steps) else (None, None),
        )
        trainer.remove_callback(PrinterCallback)
        try:
            if not resumed or not (watch.finished or resumed[1] == steps):
                trainer.train(resume_from_checkpoint=str(resumed[0]) if resumed else None)
        except GradientNotFiniteError as error:
            raise diverged(settings.steps, str(error)) from None
    watch.restore_best()
    best = watch.best
    on_gpu = ranker.model.device.type == "cuda"
    return Finetuned(
        rows=tuple(watch.rows),
        best_prompts=best.prompts,
        best_ndcg_10=best.value,
        prompts=watch.looks[-1].prompts,
        seconds=time.monotonic() - started,
        tokens_per_second=trainer.tokens / trainer.seconds if trainer.seconds else 0.0,
        peak_memory_bytes=torch.cuda.max_memory_allocated() if on_gpu else 0,
    )


def _arguments(settings: StepSettings, folder: Path, device: torch.device, steps: int, seed: int) -> TrainingArguments:
    """Return Trainer's arguments: silent, untracked, on one device, checkpoints when told so."""
    usgm = _is_usgm(settings)
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch,
        gradient_accumulation_steps=settings.accumulation,
        learning_rate=settings.learning_rate,
        warmup_steps=settings.warmup,
        lr_scheduler_type="linear",
        optim="adamw_torch" if usgm else optimizer_name(settings.optimizer, device),  # Trainer is given USGM itself
        max_grad_norm=0.0 if usgm else settings.gradient_norm,
        logging_steps=max(1, min(20, steps // 10)),
        logging_nan_inf_filter=False,  # a loss that is no number must be seen
        save_strategy="no",
        bf16=device.type == "cuda",
        use_cpu=device.type == "cpu",
        remove_unused_columns=False,
        disable_tqdm=True,
        report_to="none",
        dataloader_pin_memory=device.type == "cuda",
        seed=seed,
    )
    return on_one_device(arguments)


def _is_usgm(settings: StepSettings) -> bool:
    return settings.optimizer == "usgm"


class _AnswerTrainer(Trainer):
    """Computes logits of the answer's positions only, and keeps the order of the examples."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tokens = 0
        self.seconds = 0.0
        self._of_letters: list[torch.Tensor] = []

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean negative log-likelihood of letter and end."""
        del return_outputs
        labels = inputs.pop("labels")
        logits = model(**inputs, logits_to_keep=labels.shape[1], use_cache=False).logits
        # The logits at a position are of the token after it.
        losses = torch.nn.functional.cross_entropy(
            logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="none"
        ).view(-1, labels.shape[1] - 1)
        self._of_letters.append(losses[:, 0].detach().mean())
        return losses.sum() / (num_items_in_batch if num_items_in_batch is not None else losses.numel())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log the loss of the letter alone, too: the end after it is soon learned and says nothing."""
        if "loss" in logs and self._of_letters:
            logs["letter_loss"] = torch.stack(self._of_letters).mean().item()
            self._of_letters = []
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        """Write the adapter; Trainer would add a pickle of its arguments, and ask the hub about the embeddings."""
        cast("PeftModel", self.model).save_pretrained(
            str(output_dir), state_dict=state_dict, save_embedding_layers=False
        )

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step and count its tokens and its time."""
        inputs = args[1]
        self.tokens += int(inputs["attention_mask"].sum())
        started = time.monotonic()
        loss = super().training_step(*args, **kwargs)
        self.seconds += time.monotonic() - started
        return loss

    def _get_train_sampler(self, *args: Any) -> torch.utils.data.Sampler[int]:
        del args
        return torch.utils.data.SequentialSampler(self.train_dataset)  # type: ignore[arg-type] # it has a length


class _Tokenized(Dataset[dict[str, list[int]]]):
    """Prompts, written when they are asked for."""

    def __init__(self, prompts: RankingPrompts, examples: Sequence[Example], end: int) -> None:
        self.prompts, self.examples, self.end = prompts, examples, end

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        example = self.examples[index]
        answer = [self.prompts.answers[example.place], self.end]
        return {"prompt": self.prompts.tokens(example.history, example.candidates), "answer": answer}


def _collate(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Pad on the left, so that all answers end at the last position; labels are of the last prompt token and on."""
    longest = max(len(row["prompt"]) + len(row["answer"]) for row in rows)
    tokens = [row["prompt"] + row["answer"] for row in rows]
    return {
        "input_ids": torch.tensor([[0] * (longest - len(row)) + row for row in tokens]),
        "attention_mask": torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in tokens]),
        "labels": torch.tensor([[row["prompt"][-1], *row["answer"]] for row in rows]),
    }

"""What is seen and kept while a ranker is fine-tuned: its history, the validation ranking, the best weights."""

import json
import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ssm4rec.errors import InputError
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.files import whole_file, write_json
from ssm4rec.llm.adapters import Ranker
from ssm4rec.llm.candidates import SHUFFLED_ORDER, RankingTask
from ssm4rec.llm.prompts import RankingPrompts
from ssm4rec.llm.ranking import letter_logits, ranks_of_target
from ssm4rec.llm.settings import RankerSettings, StepSettings
from ssm4rec.llm.tuning_history import TuningRow

logger = logging.getLogger(__name__)

_BEST: Final = "best.safetensors"
_ROWS: Final = "history.json"
_LOGGED: Final = ("loss", "letter_loss", "grad_norm", "learning_rate")
"""What Trainer logs and the history keeps."""


def diverged(steps: StepSettings, what: str) -> InputError:
    """Return the error of a training that came to no number, with the setting to lower."""
    if steps.optimizer == "usgm":
        lower = f"a smaller ball, such as --overrides finetune.steps.diameter={steps.diameter / 4:g}"
    else:
        lower = f"a lower rate, such as --overrides finetune.steps.learning_rate={steps.learning_rate / 4:g}"
    return InputError(f"fine-tuning diverged: {what}; start again with {lower}, and another --checkpoint-dir")


class TuningWatch(TrainerCallback):
    """Logs, ranks the validation users, keeps the best weights, stops in time, and remembers all of it on disk."""

    def __init__(
        self,
        ranker: Ranker,
        prompts: RankingPrompts,
        validation: RankingTask,
        settings: RankerSettings,
        folder: Path,
        every: int,
        on_row: Callable[[TuningRow], None],
    ) -> None:
        self.ranker, self.validation, self.settings = ranker, validation, settings
        self.folder, self.every, self.on_row = folder, every, on_row
        self.rows: list[TuningRow] = []
        self.letters = prompts.answers[: int(validation.sizes.max())]
        pools = zip(validation.histories, validation.in_order(SHUFFLED_ORDER), strict=True)
        self.users = [[prompts.tokens(history, pool)] for history, pool in pools]
        self.bar = tqdm(desc="fine-tuning", unit="prompt", leave=False)

    @property
    def looks(self) -> list[TuningRow]:
        """The rows about validation users after some training; the one before it is for comparison alone."""
        return [row for row in self.rows if row.name == "validation_ndcg_10" and row.step > 0]

    @property
    def best(self) -> TuningRow:
        """The first of the best looks."""
        return max(self.looks, key=lambda row: row.value)

    def resume(self, identity: dict[str, Any]) -> Path | None:
        """Return Trainer's checkpoint to go on from, having read what was known then; None: there is none.

        Raises:
            InputError: it is of another training.
        """
        self.identity = json.loads(json.dumps(identity))
        path = self.folder / _ROWS
        checkpoints = sorted(self.folder.glob("checkpoint-*"), key=lambda found: int(found.name.partition("-")[2]))
        if not path.exists() or not checkpoints:
            return None
        document = json.loads(path.read_text(encoding="utf-8"))
        for name, value in self.identity.items():
            if document["identity"].get(name) != value:
                raise InputError(
                    f"{self.folder}: a checkpoint of another training ({name} was {document['identity'].get(name)}, is "
                    f"{value}); remove it or choose another --checkpoint-dir"
                )
        step = int(checkpoints[-1].name.partition("-")[2])
        self.rows = [row for row in (TuningRow(**entry) for entry in document["rows"]) if row.step <= step]
        for row in self.rows:
            self.on_row(row)
        logger.info("going on after step %d from %s", step, self.folder)
        return checkpoints[-1]

    def look(self, step: int) -> None:
        """Rank the validation users."""
        scores = letter_logits(self.ranker.model, self.users, self.letters, lambda _: None)  # type: ignore[arg-type] # peft's wrapper is no PreTrainedModel
        ranks = ranks_of_target(scores, self.validation.sizes, self.validation.places(SHUFFLED_ORDER)[:, None])[:, 0]
        value = metric_at("ndcg", ranks, 10)
        better = not self.looks or value > self.best.value
        self._add(step, "validation_ndcg_10", value)
        if step > 0 and better:
            weights = get_peft_model_state_dict(self.ranker.model)
            with whole_file(self.folder / _BEST) as partial:
                save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, partial)
        logger.info("after %d prompts: validation ndcg@10 %.4f of %d users", self._prompts(step), value, len(ranks))

    def restore_best(self) -> None:
        """Give the ranker the best weights."""
        self.bar.close()
        set_peft_model_state_dict(self.ranker.model, load_file(self.folder / _BEST))
        self.ranker.model.eval()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Set the bar."""
        del args, control
        self.bar.reset(total=self._prompts(state.max_steps))
        self.bar.update(self._prompts(state.global_step))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        """Look, and have a checkpoint written, at every so many steps and at the last."""
        del args
        self.bar.update(self._prompts(1))
        if state.global_step % self.every == 0 or state.global_step == state.max_steps:
            self.look(state.global_step)
            control.should_save = True
            since = [row.step for row in self.looks if row.step > self.best.step]
            control.should_training_stop = len(since) >= self.settings.patience
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Keep loss and learning rate."""
        del args, control
        taken = {name: float(logs[name]) for name in _LOGGED if logs and name in logs}
        for name, value in taken.items():
            if not math.isfinite(value):
                raise diverged(self.settings.steps, f"{name} became {value} at step {state.global_step}")
            self._add(state.global_step, name, value)
        if "loss" in taken:
            self.bar.set_postfix(loss=f"{taken['loss']:.3f}", refresh=False)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the rows beside Trainer's checkpoint."""
        del args, state, control
        rows = [asdict(row) for row in self.rows]
        write_json(self.folder / _ROWS, {"identity": self.identity, "rows": rows})

    def _add(self, step: int, name: str, value: float) -> None:
        row = TuningRow(step=step, prompts=self._prompts(step), name=name, value=value)
        self.rows.append(row)
        self.on_row(row)

    def _prompts(self, steps: int) -> int:
        return steps * self.settings.steps.batch * self.settings.steps.accumulation

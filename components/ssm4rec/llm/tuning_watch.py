"""What is seen and kept while a ranker is fine-tuned: its learning curve, the validation ranking, the best weights.

A checkpoint is one folder, ``checkpoint-<step>``, that appears whole or not at all: what Trainer saves (weights,
optimizer, schedule, random numbers), the rows until then with the training they are of (``course.json``) and the best
weights. Trainer writes into ``writing/``; the folder is completed there and moved into place by a rename; only then
are earlier ones removed. So a training that is killed at any moment resumes to the same result.
"""

import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Point
from ssm4rec.artifacts.rankings import SHUFFLED_ORDER
from ssm4rec.evaluation.full_ranking import ScoresNotNumbersError
from ssm4rec.evaluation.metrics import metric_at
from ssm4rec.llm.adapters import Ranker
from ssm4rec.llm.candidates import RankingTask
from ssm4rec.llm.prompts import RankingPrompts
from ssm4rec.llm.ranking import letter_logits, ranks_of_target
from ssm4rec.llm.settings import RankerSettings, StepSettings
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import move_into_place, read_json, write_json

logger = logging.getLogger(__name__)

VALIDATION_NDCG: Final = "validation_ndcg_10"

_BEST: Final = "best.safetensors"
_COURSE: Final = "course.json"
_WRITING: Final = "writing"
_LOGGED: Final = ("loss", "letter_loss", "grad_norm", "learning_rate")
"""What Trainer logs and the curve keeps."""


def diverged(steps: StepSettings, what: str) -> InputError:
    """Return the error of a training that came to no number, with the setting to lower."""
    if steps.optimizer == "usgm":
        lower = f"a smaller ball, such as --overrides finetune.steps.diameter={steps.diameter / 4:g}"
    else:
        lower = f"a lower rate, such as --overrides finetune.steps.learning_rate={steps.learning_rate / 4:g}"
    return InputError(f"fine-tuning diverged: {what}; start again with {lower}, and another --checkpoint-dir")


@dataclass(frozen=True)
class TuningRow:
    """One number of a fine-tuning.

    Attributes:
        step: of the optimizer; 0: before the first.
        prompts: seen by then.
        name: ``loss`` (mean over the steps since the row before, nats per token of the answer, which is the letter and
            the end after it), ``letter_loss`` (of the letter alone), ``learning_rate`` (USGM's is 1 / H),
            ``grad_norm`` or ``validation_ndcg_10`` (of the validation users whose target the retriever found,
            candidates shuffled).
        value: the number.
    """

    step: int
    prompts: int
    name: str
    value: float

    def points(self) -> tuple[Point, Point]:
        """Return the row as points of a learning curve."""
        seen = Point(self.step, TRAIN, {"seen": self.prompts})
        if self.name == VALIDATION_NDCG:
            return seen, Point(self.step, VALIDATION, {"ndcg_10": self.value})
        return seen, Point(self.step, TRAIN, {self.name: self.value})


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
        self.best_weights: dict[str, Tensor] = {}
        self.letters = prompts.answers[: int(validation.sizes.max())]
        pools = zip(validation.histories, validation.in_order(SHUFFLED_ORDER), strict=True)
        self.users = [[prompts.tokens(history, pool)] for history, pool in pools]
        self.bar = tqdm(desc="fine-tuning", unit="prompt", leave=False)

    @property
    def looks(self) -> list[TuningRow]:
        """The rows about validation users after some training; the one before it is for comparison alone."""
        return [row for row in self.rows if row.name == VALIDATION_NDCG and row.step > 0]

    @property
    def best(self) -> TuningRow:
        """The first of the best looks."""
        return max(self.looks, key=lambda row: row.value)

    @property
    def finished(self) -> bool:
        """Whether as many looks as patience has were no better than the best."""
        return len([row for row in self.looks if row.step > self.best.step]) >= self.settings.patience

    @property
    def writing(self) -> Path:
        """The folder that Trainer writes to."""
        return self.folder / _WRITING

    def resume(self, identity: dict[str, Any]) -> tuple[Path, int] | None:
        """Return the checkpoint to resume from and its step, having read what was known then; None: there is none.

        Raises:
            InputError: it is of another training, of an earlier version, or damaged.
        """
        self.identity = json.loads(json.dumps(identity))
        shutil.rmtree(self.writing, ignore_errors=True)  # left by a process that was killed
        checkpoints = [path for path in self.folder.glob("checkpoint-*") if path.is_dir()]
        if not checkpoints:
            return None
        checkpoint = max(checkpoints, key=_step)
        way_out = "remove it, or choose another --checkpoint-dir"
        if not (checkpoint / _COURSE).exists():
            raise InputError(f"{self.folder}: a checkpoint of an earlier version of this project; {way_out}")
        document = read_json(checkpoint / _COURSE)
        try:
            for name, value in self.identity.items():
                stored = document["identity"].get(name)
                if stored != value:
                    raise InputError(
                        f"{self.folder}: a checkpoint of another training ({name} was {stored}, is {value}); {way_out}"
                    )
            self.rows = [TuningRow(**entry) for entry in document["rows"]]
            self.best_weights = load_file(checkpoint / _BEST)
        except (KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
            raise InputError(f"{checkpoint}: a damaged checkpoint ({error}); {way_out}") from None
        for row in self.rows:
            self.on_row(row)
        logger.info("resumed after step %d from %s", _step(checkpoint), self.folder)
        return checkpoint, _step(checkpoint)

    def look(self, step: int) -> None:
        """Rank the validation users.

        Raises:
            InputError: the scores are NaN or infinite.
        """
        try:
            scores = letter_logits(self.ranker.model, self.users, self.letters, lambda _: None)  # type: ignore[arg-type] # peft's wrapper is no PreTrainedModel
        except ScoresNotNumbersError:
            if step == 0:
                raise
            raise diverged(self.settings.steps, f"the scores became NaN at step {step}") from None
        ranks = ranks_of_target(scores, self.validation.sizes, self.validation.places(SHUFFLED_ORDER)[:, None])[:, 0]
        value = metric_at("ndcg", ranks, 10)
        better = not self.looks or value > self.best.value
        self._add(step, VALIDATION_NDCG, value)
        if step > 0 and better:
            weights = get_peft_model_state_dict(self.ranker.model)
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        logger.info("after %d prompts: validation ndcg@10 %.4f of %d users", self._prompts(step), value, len(ranks))

    def restore_best(self) -> None:
        """Give the ranker the best weights."""
        set_peft_model_state_dict(self.ranker.model, self.best_weights)
        shutil.rmtree(self.writing, ignore_errors=True)
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
            # Logged, too: the mean loss of a row must not reach over a checkpoint, or a resumed training has another.
            control.should_log = control.should_save = True
            control.should_training_stop = self.finished
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
        """Complete Trainer's checkpoint and move it into place."""
        del control
        name = f"checkpoint-{state.global_step}"
        unit = Path(str(args.output_dir)) / name
        weights = {key: tensor.contiguous() for key, tensor in self.best_weights.items()}
        (unit / _BEST).write_bytes(save(weights))  # not save_file: its error for a full disk is no OSError
        rows = [asdict(row) for row in self.rows]
        write_json(unit / _COURSE, {"identity": self.identity, "rows": rows})
        move_into_place(unit, self.folder / name)
        for earlier in self.folder.glob("checkpoint-*"):
            if _step(earlier) < state.global_step:
                shutil.rmtree(earlier, ignore_errors=True)

    def _add(self, step: int, name: str, value: float) -> None:
        row = TuningRow(step=step, prompts=self._prompts(step), name=name, value=value)
        self.rows.append(row)
        self.on_row(row)

    def _prompts(self, steps: int) -> int:
        return steps * self.settings.steps.batch * self.settings.steps.accumulation


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.partition("-")[2]
    return int(number) if number.isdecimal() else 0

"""The course of an alignment: when it looks at the held-out pairs, what is written down of it, and its progress bar."""

# ruff: noqa: ARG002 - a callback's arguments are transformers'

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ssm4rec.artifacts.curve import HELD_OUT, TRAIN, Point, Split
from ssm4rec.llm.preference_examples import PreferenceSet
from ssm4rec.llm.settings import AlignmentSettings
from ssm4rec.runtime.errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class AlignmentTask:
    """These examples of this data set, in an order drawn by this seed."""

    dataset: str
    examples: PreferenceSet
    settings: AlignmentSettings
    seed: int


@dataclass(frozen=True)
class AlignmentRow:
    """Means over pairs, P as in the paper's equation 2: of a token of the answer, the geometric mean.

    Attributes:
        dataset, seed: of the training.
        step: optimizer steps taken; held-out pairs are also looked at before the first one.
        epoch: share of the training pairs seen.
        split: ``train``, over the pairs since the last such row, or ``held-out``, over all of these.
        loss: equation 5, nll + beta * odds_ratio_loss.
        nll: -log P(y_w|x), nats per token of the answer.
        odds_ratio_loss: equation 6, -log sigmoid(log_odds_ratio).
        log_odds_ratio: log of equation 4; above 0 the model prefers the winner.
        margin: beta * (log P(y_w|x) - log P(y_l|x)), what trl calls the margin of the rewards.
        accuracy: share of pairs with P(y_w|x) > P(y_l|x).
        learning_rate: of the last step; None for held-out rows.
    """

    dataset: str
    seed: int
    step: int
    epoch: float
    split: Split
    loss: float
    nll: float
    odds_ratio_loss: float
    log_odds_ratio: float
    margin: float
    accuracy: float
    learning_rate: float | None

    def points(self) -> tuple[Point]:
        """Return the row as points of a learning curve."""
        values = asdict(self)
        for name in ("dataset", "seed", "step", "split"):
            del values[name]
        return (Point(self.step, self.split, values),)


def alignment_row(task: AlignmentTask, logs: dict[str, Any], step: int) -> AlignmentRow | None:
    """Return what trl logged as a row; None if it is neither of training nor of a look."""
    if "loss" in logs:
        split: Split = TRAIN
        prefix = ""
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


class Course(TrainerCallback):
    """Looks and checkpoints at even distances, rows of the curve, a progress bar, and the time of the steps."""

    def __init__(self, task: AlignmentTask, on_row: Callable[[AlignmentRow], None]) -> None:
        self.task, self.on_row = task, on_row
        self.rows: list[AlignmentRow] = []
        self.seconds = 0.0
        self._started = 0.0
        self._bar: tqdm = tqdm(disable=True)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Repeat the rows of an earlier process."""
        self._bar = tqdm(total=state.max_steps, initial=state.global_step, desc="align", unit="step", leave=False)
        for logs in state.log_history:
            self._add(logs, int(logs["step"]))

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop the clock; look at the held-out pairs and write a checkpoint when it is time."""
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
        """Write down a row."""
        self._add(logs or {}, state.global_step)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Remove the bar."""
        self._bar.close()

    def _add(self, logs: dict[str, Any], step: int) -> None:
        row = alignment_row(self.task, logs, step)
        if row is None:
            return
        if not math.isfinite(row.loss):
            self._bar.close()  # so that the error is the last line
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

"""The callback of every language model's training: it validates, keeps the best weights, checkpoints and resumes.

A checkpoint is one folder, ``checkpoint-<step>``, that appears whole or not at all: what Trainer saves (weights,
optimizer, schedule, random numbers), the learning curve until then with the training that it is of (``progress.json``)
and the best weights. Trainer writes into ``writing/``; the folder is completed there and moved into place by a rename;
only then are earlier ones removed. So a training that is killed at any moment resumes to the same result.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from peft import PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ssm4rec.artifacts.curve import TRAIN, Point
from ssm4rec.artifacts.earlier_names import metrics_of_today
from ssm4rec.evaluation.full_ranking import ScoresNotNumbersError
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import move_into_place, read_json, write_json
from ssm4rec.training.checkpoint import first_difference

if TYPE_CHECKING:
    from ssm4rec.llm.validated_trainer import ValidatedTrainer

logger = logging.getLogger(__name__)

Weights = dict[str, Tensor]

_BEST: Final = "best.safetensors"
_PROGRESS: Final = "progress.json"
WRITING: Final = "writing"
"""The folder below that of the checkpoints that Trainer writes to."""


class ValidationCallback(TrainerCallback):
    """Validates, draws the learning curve, keeps the best weights, stops in time, and remembers all of it on disk."""

    trainer: "ValidatedTrainer"
    bar: "tqdm[Any]"

    def __init__(
        self, folder: Path, identity: dict[str, Any], on_point: Callable[[Point], None], patience: int = 0
    ) -> None:
        """Prepare to write a checkpoint into ``folder`` at every validation.

        One belongs to this training if its ``identity`` is the same. ``on_point`` is called with every point of the
        learning curve, those of an earlier process included. ``patience``: stop after so many validations without a
        better one; 0: never.
        """
        self.folder, self.on_point, self.patience = folder, on_point, patience
        self.identity = json.loads(json.dumps(identity))
        self.points: list[Point] = []
        self.best_weights: Weights = {}
        self.finished = False
        self.seconds = 0.0
        self._started = 0.0

    @property
    def validations(self) -> list[Point]:
        """Those after some training; one before it is for comparison alone."""
        return [point for point in self.points if point.split == self.trainer.split and point.step > 0]

    @property
    def best(self) -> Point:
        """The first of the best validations; the last one where the trainer has no measure to choose by."""
        measure, sign = self.trainer.measure, -1 if self.trainer.lower_is_better else 1
        if not measure:
            return self.validations[-1]
        return max(self.validations, key=lambda point: sign * point.measured[measure])

    def resume(self) -> Path | None:
        """Take up the newest checkpoint and return its folder, None if there is none.

        Raise InputError if it is of another training, of an earlier version, or damaged.
        """
        shutil.rmtree(self.folder / WRITING, ignore_errors=True)  # left by a process that was killed
        found = [path.parent for path in self.folder.glob(f"checkpoint-*/{_PROGRESS}")]
        way_out = "remove it to start again, or choose another --checkpoint-dir"
        if not found:
            if any(self.folder.glob("*")):
                raise InputError(f"{self.folder}: a checkpoint of an earlier version of this project; {way_out}")
            return None
        checkpoint = max(found, key=_step)
        document = read_json(checkpoint / _PROGRESS)
        try:
            if difference := first_difference(document["identity"], self.identity):
                raise InputError(f"{self.folder}: a checkpoint of another training: {difference}; {way_out}")
            self.points = [
                Point(**{**entry, "values": metrics_of_today(entry["values"])}) for entry in document["points"]
            ]
            self.finished = document["finished"]
            self.best_weights = load_file(checkpoint / _BEST)
        except (KeyError, TypeError, AttributeError, OSError, SafetensorError) as error:
            raise InputError(f"{checkpoint}: a damaged checkpoint ({error}); {way_out}") from None
        for point in self.points:
            self.on_point(point)
        logger.info("resumed after step %d from %s", _step(checkpoint), self.folder)
        return checkpoint

    def restore_best(self, model: nn.Module) -> None:
        """Give the model the best weights."""
        if isinstance(model, PeftModel):
            set_peft_model_state_dict(model, self.best_weights)
        else:
            model.load_state_dict(self.best_weights)
        shutil.rmtree(self.folder / WRITING, ignore_errors=True)
        model.eval()

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:  # noqa: ARG002
        """Set the bar, and validate before the first step if the trainer wants that for comparison."""
        self.bar.reset(total=state.max_steps)
        self.bar.update(state.global_step)
        if self.trainer.validates_first and not self.points:
            self._validate(0)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Stop the clock; validate and have a checkpoint written when it is time."""
        del args
        self.seconds += time.perf_counter() - self._started
        step, trainer = state.global_step, self.trainer
        self.bar.total = trainer.expected_steps(step)
        self.bar.update()
        last = trainer.is_last(step)
        if last or trainer.is_due(step):
            self._validate(step)
            since = sum(point.step > self.best.step for point in self.validations)
            control.should_training_stop = self.finished = last or 0 < self.patience <= since
            # Logged, too: the mean loss of a point must not reach over a checkpoint, or a resumed training has another.
            control.should_log = control.should_save = True

    def on_log(self, args: TrainingArguments, state: TrainerState, *_: Any, **given: Any) -> None:  # noqa: ARG002
        """Add what the trainer makes of its logs to the learning curve."""
        logs: dict[str, float] = given["logs"]
        if "loss" not in logs:  # of a validation, or of the training's end
            return
        self._check(state.global_step, {"loss": logs["loss"]})
        if values := self.trainer.training_numbers(logs):
            self._add(Point(state.global_step, TRAIN, values))
        self.bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Complete Trainer's checkpoint and move it into place."""
        name = f"checkpoint-{state.global_step}"
        unit = Path(str(args.output_dir)) / name
        (unit / _BEST).write_bytes(weights_file(self.best_weights))
        points = [asdict(point) for point in self.points]
        write_json(unit / _PROGRESS, {"identity": self.identity, "finished": self.finished, "points": points})
        move_into_place(unit, self.folder / name)
        for earlier in self.folder.glob("checkpoint-*"):
            if _step(earlier) < state.global_step:
                shutil.rmtree(earlier, ignore_errors=True)

    def _validate(self, step: int) -> None:
        trainer = self.trainer
        try:
            values = trainer.validate()
        except ScoresNotNumbersError:
            if step == 0:
                raise
            raise trainer.diverged(f"the scores became NaN at step {step}") from None
        self._add(Point(step, trainer.split, values))
        if step > 0 and self.best is self.points[-1]:
            model = trainer.model
            weights = get_peft_model_state_dict(model) if isinstance(model, PeftModel) else model.state_dict()
            self.best_weights = {name: tensor.detach().cpu().clone() for name, tensor in weights.items()}
        said = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        logger.info("%s step %d/%d: %s %s", trainer.title, step, self.bar.total, trainer.split, said)

    def _add(self, point: Point) -> None:
        self._check(point.step, point.measured)
        self.points.append(point)
        self.on_point(point)

    def _check(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            if not math.isfinite(value):
                raise self.trainer.diverged(f"the {name} became {value} at step {step}")


def weights_file(weights: Weights) -> bytes:
    """Return the bytes of a safetensors file. Not save_file: its error for a full disk is no OSError."""
    return save({name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()})


def _step(checkpoint: Path) -> int:
    number = checkpoint.name.partition("-")[2]
    return int(number) if number.isdecimal() else 0

"""How far the training of a generator has come, and the learning curve through its epochs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Point
from ssm4rec.runtime.errors import InputError


@dataclass(frozen=True)
class GeneratorEpoch:
    """What one epoch did.

    Attributes:
        epoch: from 1.
        steps: of the optimizer, in this epoch.
        train_loss: mean per token trained on, nats.
        validation_loss: mean per token of the validation users' next titles, nats.
        tokens_per_second: of prompts and answers, trained on or not, while training.
        cpu_seconds: of this process and its threads since the training's start.
    """

    epoch: int
    steps: int
    train_loss: float
    validation_loss: float
    tokens_per_second: float
    cpu_seconds: float


@dataclass(frozen=True)
class GeneratorProgress:
    """A row per finished epoch, and the epoch with the lowest validation loss (from 1)."""

    rows: tuple[GeneratorEpoch, ...] = ()
    best_epoch: int = 0

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]], folder: Path) -> "GeneratorProgress":
        """Return the progress of a checkpoint's rows.

        Raises:
            InputError: they are those of an earlier version.
        """
        progress = cls()
        try:
            for row in rows:
                progress = progress.with_row(GeneratorEpoch(**row))
        except TypeError:
            raise InputError(
                f"{folder}: a checkpoint of an earlier version of this project; remove it, or choose another "
                "--checkpoint-dir"
            ) from None
        return progress

    def with_row(self, row: GeneratorEpoch) -> "GeneratorProgress":
        """Return the progress one epoch further."""
        better = not self.rows or row.validation_loss < self.rows[self.best_epoch - 1].validation_loss
        return GeneratorProgress((*self.rows, row), row.epoch if better else self.best_epoch)

    def points(self) -> Iterator[Point]:
        """Yield the points of the learning curve, at each epoch's last step."""
        step = 0
        for row in self.rows:
            step += row.steps
            axes = {"epoch": row.epoch, "cpu_seconds": row.cpu_seconds}
            pace = {"loss": row.train_loss, "tokens_per_second": row.tokens_per_second}
            yield Point(step, TRAIN, axes | pace)
            yield Point(step, VALIDATION, {"loss": row.validation_loss})

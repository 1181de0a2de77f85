"""The learning curve of any training: recommenders, rankers, their alignment and generators write the same file.

Parquet, a row per number: ``step`` int64, the optimizer steps taken by then (0: before the first); ``split`` string,
what the number is of: ``train``, ``validation`` or ``held-out`` (preference pairs); ``name`` string, of ``NUMBERS``;
``value`` float64. What a training does not measure has no row. Axes other than the step are numbers like the rest
(``epoch``, ``seen``, ``cpu_seconds``): ``Curve.against`` puts two numbers of the same step together. The metadata holds
the :class:`Training` as JSON.

Long rather than wide, because the four trainings share few columns and log at different steps: an epoch ends with ten
numbers, each of its steps has one (``batch_targets``), validation of a ranker has its own steps.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

import pyarrow
from pydantic import TypeAdapter, ValidationError

from ssm4rec.artifacts import codec
from ssm4rec.artifacts.codec import Amount, Count, Number, Positive, Share
from ssm4rec.artifacts.earlier_names import METRICS
from ssm4rec.artifacts.names import ControllerName, OptimizerName
from ssm4rec.runtime.errors import InputError

Split = Literal["train", "validation", "held-out"]
TRAIN: Final = "train"
VALIDATION: Final = "validation"
HELD_OUT: Final = "held-out"

Stage = Literal["train_recommender", "finetune_llm", "align_llm", "train_generator"]

NUMBERS: Final[dict[str, Any]] = {
    # The axes.
    "epoch": Amount,
    "seen": Count,  # targets or prompts trained on
    "cpu_seconds": Amount,  # of this process and its threads, training and validation together
    # Losses, nats, and metrics.
    "loss": Number,  # recommenders: per target; generators: per token; fine-tuning: per token of the answer
    "letter_loss": Number,  # of the answer's letter alone; ln 20 = 3.00 is guessing among 20
    "hit@10": Share,
    "ndcg@10": Share,
    # Alignment: means over pairs, see ``llm/alignment.py``.
    "nll": Number,
    "odds_ratio_loss": Number,
    "log_odds_ratio": Number,
    "margin": Number,
    "accuracy": Share,
    # Of the optimizer and the batches.
    "learning_rate": Number,  # USGM's is 1 / H
    "grad_norm": Number,
    "batch_targets": Positive,  # of this step
    "fill": Share,  # cells of the epoch's batches that hold an item, the rest is padding
    "curvature": Number,  # H of USGM
    "bregman": Number,
    "curvature_term": Number,
    "noise_term": Number,
    "tokens_per_second": Amount,
}
"""Every number that a curve may hold, and its type; a name that is not here is refused."""

_REQUIRED: Final[dict[str, tuple[tuple[Split, str], ...]]] = {
    "train_recommender": (
        *((TRAIN, name) for name in ("epoch", "seen", "cpu_seconds", "loss", "fill", "batch_targets")),
        (VALIDATION, "hit@10"),
        (VALIDATION, "ndcg@10"),
    ),
    "finetune_llm": ((TRAIN, "seen"),),
    "align_llm": ((TRAIN, "loss"), (HELD_OUT, "accuracy")),
    "train_generator": ((TRAIN, "epoch"), (TRAIN, "loss"), (VALIDATION, "loss")),
}
_SCHEMA: Final = pyarrow.schema(
    [
        *codec.required(pyarrow.int64(), "step"),
        *codec.required(pyarrow.string(), "split", "name"),
        *codec.required(pyarrow.float64(), "value"),
    ]
)
_TRAINING_KEY: Final = b"ssm4rec.training"


@dataclass(frozen=True)
class Training:
    """Whose curve it is.

    Attributes:
        model: of a language model its source.
        scale: the optimizer's setting that matters most: its peak learning rate, or USGM's diameter.
    """

    stage: Stage
    dataset: str
    model: str
    seed: Count
    optimizer: str
    scale: Number
    batch_control: ControllerName = "fixed"

    def __post_init__(self) -> None:
        if self.stage == "train_recommender" and self.optimizer not in get_args(OptimizerName):
            raise ValueError(f"optimizer: there is none called {self.optimizer!r}")


@dataclass(frozen=True)
class Point:
    """Numbers of one step, by name."""

    step: int
    split: Split
    values: Mapping[str, float | None]
    """What is None was not measured."""

    @property
    def measured(self) -> dict[str, float]:
        """The numbers that were measured."""
        return {name: value for name, value in self.values.items() if value is not None}


@dataclass(frozen=True)
class Curve:
    """A learning curve; ``series`` are the values of each number by step, in that order, by split and name."""

    training: Training
    series: dict[tuple[Split, str], dict[int, float]]

    @classmethod
    def of(cls, training: Training, points: Iterable[Point]) -> "Curve":
        """Return the curve through these points."""
        series: dict[tuple[Split, str], dict[int, float]] = {}
        for point in points:
            for name, value in point.measured.items():
                series.setdefault((point.split, name), {})[point.step] = value
        return cls(training, series)

    def values(self, name: str, split: Split = TRAIN) -> list[Any]:
        """Return the values of a number in the order of the steps; none where it was not measured."""
        return list(self.series.get((split, name), {}).values())

    def against(self, axis: str, name: str, split: Split = TRAIN) -> list[tuple[Any, Any]]:
        """Return a number against an axis: the step, or another number of the same split or of training.

        Raise InputError if a step of the number has no such axis.
        """
        found = self.series.get((split, name), {})
        if axis == "step":
            return list(found.items())
        along = self.series.get((TRAIN, axis), {}) | self.series.get((split, axis), {})
        try:
            return [(along[step], value) for step, value in found.items()]
        except KeyError as error:
            stage = self.training.stage
            raise InputError(
                f"the learning curve of {self.training.model} seed {self.training.seed} has no {axis} at step {error}; "
                f"run {stage} again"
            ) from None


def write_curve(path: Path, curve: Curve) -> None:
    """Write a curve, whole or not at all."""
    rows = [
        {"step": step, "split": split, "name": name, "value": float(value)}
        for (split, name), values in curve.series.items()
        for step, value in values.items()
    ]
    schema = _SCHEMA.with_metadata({_TRAINING_KEY: json.dumps(asdict(curve.training))})
    codec.write_table(path, pyarrow.Table.from_pylist(rows, schema))


def read_curve(path: Path, stage: Stage) -> Curve:
    """Read a curve that a stage has written.

    Raise InputError if it is missing, not a learning curve or one of an earlier version, of another stage, has a number
    that is unknown, twice, or out of its range, or lacks one that this stage writes.
    """
    what = f"a learning curve of {stage}"
    table = codec.read_table(path, _SCHEMA, what, stage)

    def refuse(wrong: object) -> InputError:
        return InputError(f"{path}: not {what} ({wrong}); run {stage} again")

    try:
        told = codec.text_of(table.schema.metadata, _TRAINING_KEY)
        training = codec.checked(json.loads(told or "{}"), Training)
    except ValueError as error:
        raise refuse(error) from None
    if training.stage != stage:
        raise InputError(f"{path}: a learning curve of {training.stage}, not of {stage}; give each where it belongs")
    series: dict[tuple[Split, str], dict[int, float]] = {}
    for step, split, name, value in zip(*(table.column(name).to_pylist() for name in _SCHEMA.names), strict=True):
        values = series.setdefault((split, METRICS.get(name, name)), {})
        if step < 0 or step in values:
            raise refuse(f"{split} {name} at step {step}: {'twice' if step in values else 'below 0'}")
        values[step] = value
    for (split, name), values in series.items():
        if split not in get_args(Split) or name not in NUMBERS:
            raise refuse(f"{split} {name}: unknown")
        try:
            typed = _values(name).validate_python(list(values.values()))
        except ValidationError as error:
            place = int(error.errors()[0]["loc"][0])
            raise refuse(f"{split} {name} at step {list(values)[place]}: {error.errors()[0]['msg']}") from None
        series[split, name] = dict(sorted(zip(values, typed, strict=True)))
    if missing := [f"{split} {name}" for split, name in _REQUIRED[stage] if (split, name) not in series]:
        raise refuse(f"no {missing[0]}")
    return Curve(training, series)


@lru_cache
def _values(name: str) -> TypeAdapter[list[Any]]:
    return TypeAdapter(list[NUMBERS[name]])  # type: ignore[valid-type]

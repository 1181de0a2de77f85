"""history.parquet: one row per epoch, the learning curve of one training."""

from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from ssm4rec.errors import InputError
from ssm4rec.files import whole_file


@dataclass(frozen=True)
class EpochRow:
    """What one epoch did.

    Attributes:
        epoch: from 1.
        train_loss: mean loss per target, nats.
        learning_rate: at the epoch's end; USGM's is 1 / H.
        validation_hit_10: validation HIT@10.
        validation_ndcg_10: validation NDCG@10; early stopping looks at this.
        validation_protocol: of the two: history unmasked, or masked as in the loss (``training.protocol``).
        targets: positions trained on.
        targets_seen: likewise, since the training's start.
        optimizer: that trained.
        scale: the setting of it that matters most: its peak learning rate, or USGM's diameter.
        batch_control: that chose the batches.
        batch_targets: the targets of every step.
        curvature: H of USGM at the epoch's end.
        bregman: the mean over the epoch's steps of beta (``optim/usgm.py``), where it was measured.
        curvature_term: c1 of the batch controller's last fit.
        noise_term: c2 likewise, or the noise S of ``noise-scale``.
        fill: the share of the batches' cells that held an item, the rest is padding.
        cpu_seconds: of this process and its threads, training and validation together.
    """

    dataset: str
    model: str
    seed: int
    epoch: int
    train_loss: float
    learning_rate: float
    validation_hit_10: float
    validation_ndcg_10: float
    validation_protocol: str
    targets: int
    fill: float
    cpu_seconds: float
    targets_seen: int
    optimizer: str
    scale: float
    batch_control: str
    batch_targets: list[int]
    curvature: float | None = None
    bregman: float | None = None
    curvature_term: float | None = None
    noise_term: float | None = None


def write_history(path: Path, rows: list[EpochRow]) -> None:
    """Write the rows as Parquet."""
    with whole_file(path) as partial:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([asdict(row) for row in rows]), partial)


def read_history(path: Path) -> list[EpochRow]:
    """Read the rows back; raise InputError if the file is not a history."""
    try:
        return [EpochRow(**row) for row in pyarrow.parquet.read_table(path).to_pylist()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run train_recommender first") from None
    except (pyarrow.ArrowInvalid, OSError, TypeError) as error:
        raise InputError(f"{path}: not a training history ({error}); run train_recommender again") from None

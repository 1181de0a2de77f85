"""history.parquet: one row per epoch, the learning curve of one training."""

from dataclasses import dataclass
from pathlib import Path

from ssm4rec.artifacts.codec import Amount, Count, Number, Positive, Share, read_rows, write_rows
from ssm4rec.contracts import OptimizerName
from ssm4rec.optim.batch_size import ControllerName


@dataclass(frozen=True)
class EpochRow:
    """What one epoch did.

    Attributes:
        epoch: from 1.
        train_loss: mean loss per target, nats.
        learning_rate: at the epoch's end; USGM's is 1 / H, None while H is 0.
        validation_hit_10: validation HIT@10, history unmasked.
        validation_ndcg_10: NDCG@10 of the same; early stopping looks at this.
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
    seed: Count
    epoch: Positive
    train_loss: Number
    learning_rate: Number | None
    validation_hit_10: Share
    validation_ndcg_10: Share
    targets: Count
    fill: Share
    cpu_seconds: Amount
    targets_seen: Count
    optimizer: OptimizerName
    scale: Number
    batch_control: ControllerName
    batch_targets: list[Positive]
    curvature: Number | None = None
    bregman: Number | None = None
    curvature_term: Number | None = None
    noise_term: Number | None = None


def write_history(path: Path, rows: list[EpochRow]) -> None:
    """Write the rows as Parquet."""
    write_rows(path, rows, EpochRow)


def read_history(path: Path) -> list[EpochRow]:
    """Read the rows back; raise InputError if the file is not a history."""
    return read_rows(path, EpochRow, "a training history", "train_recommender")

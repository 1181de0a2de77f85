"""Epochs of a training, and the learning curve through them."""

from dataclasses import replace
from typing import Any

from ssm4rec.training.epochs import EpochRow

_ROW = EpochRow(
    dataset="toy",
    model="sasrec",
    seed=0,
    epoch=1,
    train_loss=7.0,
    learning_rate=1e-3,
    validation_hit_10=0.2,
    validation_ndcg_10=0.1,
    targets=100,
    fill=0.97,
    cpu_seconds=1.5,
    targets_seen=100,
    optimizer="adamw",
    scale=1e-3,
    batch_control="fixed",
    batch_targets=[100],
)


def epoch_row(epoch: int = 1, **changes: Any) -> EpochRow:
    """Return the row of one epoch of 100 targets in one step, but for the changes."""
    return replace(_ROW, epoch=epoch, **{"cpu_seconds": 1.5 * epoch, "targets_seen": 100 * epoch, **changes})

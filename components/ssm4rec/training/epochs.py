"""What the epochs of a recommender's training did, and the learning curve through them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, Point, Training
from ssm4rec.artifacts.names import ControllerName, OptimizerName


@dataclass(frozen=True)
class EpochRow:
    """What one epoch did."""

    dataset: str
    model: str
    seed: int
    epoch: int  # from 1
    train_loss: float  # mean per target, nats
    learning_rate: float | None  # at the epoch's end; USGM's is 1 / H, None while H is 0
    validation_hit_10: float  # history unmasked
    validation_ndcg_10: float  # of the same; early stopping looks at this
    targets: int  # positions trained on
    fill: float  # the share of the batches' cells that held an item, the rest is padding
    cpu_seconds: float  # of this process and its threads, training and validation together
    targets_seen: int  # positions trained on since the training's start
    optimizer: OptimizerName
    scale: float  # the optimizer's setting that matters most: its peak learning rate, or USGM's diameter
    batch_control: ControllerName
    batch_targets: list[int]  # of every step
    curvature: float | None = None  # H of USGM at the epoch's end
    bregman: float | None = None  # the mean over the epoch's steps of beta (``optim/usgm.py``), where it was measured
    curvature_term: float | None = None  # c1 of the batch controller's last fit
    noise_term: float | None = None  # c2 of the same, or the noise S of ``noise-scale``


def learning_curve(rows: Sequence[EpochRow]) -> Curve:
    """Return the curve of a training from its epochs, at least one.

    It has the size of every step's batch, and at each epoch's last step the numbers of the epoch.
    """
    one = rows[0]
    training = Training(
        "train_recommender", one.dataset, one.model, one.seed, one.optimizer, one.scale, one.batch_control
    )
    points: list[Point] = []
    step = 0
    for row in rows:
        for targets in row.batch_targets:
            step += 1
            points.append(Point(step, TRAIN, {"batch_targets": targets}))
        ended = {
            "epoch": row.epoch,
            "seen": row.targets_seen,
            "cpu_seconds": row.cpu_seconds,
            "loss": row.train_loss,
            "learning_rate": row.learning_rate,
            "fill": row.fill,
            "curvature": row.curvature,
            "bregman": row.bregman,
            "curvature_term": row.curvature_term,
            "noise_term": row.noise_term,
        }
        validated = {"hit@10": row.validation_hit_10, "ndcg@10": row.validation_ndcg_10}
        points += [Point(step, TRAIN, ended), Point(step, VALIDATION, validated)]
    return Curve.of(training, points)

"""alignment.parquet: how an alignment went, a row per logged step of training and per look at the held-out pairs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssm4rec.artifacts.codec import Amount, Count, Number, Share, read_rows, write_rows

TRAIN: Final = "train"
HELD_OUT: Final = "held-out"


@dataclass(frozen=True)
class AlignmentRow:
    """Means over pairs, P as in the paper's equation 2: of a token of the answer, the geometric mean.

    Attributes:
        step: optimizer steps taken; held-out pairs are also looked at before the first one.
        epoch: share of the training pairs seen.
        split: ``train``, over the pairs since the last such row, or ``held-out``, over all of these.
        loss: equation 5, nll + beta * odds_ratio_loss.
        nll: -log P(y_w|x), nats a token of the answer.
        odds_ratio_loss: equation 6, -log sigmoid(log_odds_ratio).
        log_odds_ratio: log of equation 4; above 0 the model prefers the winner.
        margin: beta * (log P(y_w|x) - log P(y_l|x)), what trl calls the margin of the rewards.
        accuracy: share of pairs with P(y_w|x) > P(y_l|x).
        learning_rate: of the last step; null for held-out rows.
    """

    dataset: str
    seed: Count
    step: Count
    epoch: Amount
    split: str
    loss: Number
    nll: Number
    odds_ratio_loss: Number
    log_odds_ratio: Number
    margin: Number
    accuracy: Share
    learning_rate: Amount | None


def write_alignment_history(path: Path, rows: list[AlignmentRow]) -> None:
    """Write the rows as Parquet, whole or not at all."""
    write_rows(path, rows, AlignmentRow)


def read_alignment_history(path: Path) -> list[AlignmentRow]:
    """Read the rows back.

    Raises:
        InputError: the file is missing or is not an alignment's history.
    """
    return read_rows(path, AlignmentRow, "the history of an alignment", "align_llm")

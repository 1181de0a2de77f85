"""alignment.parquet: how an alignment went, a row per logged step of training and per look at the held-out pairs."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

import pyarrow
import pyarrow.parquet

from ssm4rec.errors import InputError
from ssm4rec.files import whole_file

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
    seed: int
    step: int
    epoch: float
    split: str
    loss: float
    nll: float
    odds_ratio_loss: float
    log_odds_ratio: float
    margin: float
    accuracy: float
    learning_rate: float | None


_TYPES: Final = {
    "dataset": pyarrow.string(),
    "split": pyarrow.string(),
    "seed": pyarrow.int64(),
    "step": pyarrow.int64(),
}
_SCHEMA: Final = pyarrow.schema(
    [(field.name, _TYPES.get(field.name, pyarrow.float64())) for field in fields(AlignmentRow)]
)


def write_alignment_history(path: Path, rows: list[AlignmentRow]) -> None:
    """Write the rows as Parquet, whole or not at all."""
    with whole_file(path) as partial:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([asdict(row) for row in rows], _SCHEMA), partial)


def read_alignment_history(path: Path) -> list[AlignmentRow]:
    """Read the rows back.

    Raises:
        InputError: the file is missing or is not an alignment's history.
    """
    try:
        return [AlignmentRow(**row) for row in pyarrow.parquet.read_table(path).to_pylist()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run align_llm first") from None
    except (pyarrow.ArrowInvalid, OSError, TypeError) as error:
        raise InputError(f"{path}: not the history of an alignment ({error}); run align_llm again") from None

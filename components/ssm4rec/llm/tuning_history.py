"""history.parquet of a fine-tuning: a row for each number at each step it was taken.

Columns: ``step`` (0: before the first), ``prompts`` seen by then, ``name`` and ``value``: ``loss`` (mean
over the steps since the row before, nats a token of the answer, which is the letter and the end after it),
``letter_loss`` (of the letter alone; ln 20 = 3.00 is guessing among 20), ``learning_rate`` (USGM's is 1 / H),
``grad_norm``, ``validation_ndcg_10`` (of the validation users whose target the retriever found, candidates shuffled).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ssm4rec.artifacts.codec import Count, Number, read_rows, write_rows


@dataclass(frozen=True)
class TuningRow:
    """One number of a fine-tuning."""

    step: Count
    prompts: Count
    name: str
    value: Number


def write_tuning_history(path: Path, rows: Sequence[TuningRow]) -> None:
    """Write history.parquet, whole or not at all."""
    write_rows(path, rows, TuningRow)


def read_tuning_history(path: Path) -> list[TuningRow]:
    """Read history.parquet.

    Raises:
        InputError: it is missing or no such file.
    """
    return read_rows(path, TuningRow, "the history of a fine-tuning", "finetune_llm")

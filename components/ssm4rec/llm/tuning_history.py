"""history.parquet of a fine-tuning: a row for each number at each step it was taken.

Columns: ``step`` int32 (0: before the first), ``prompts`` int32 seen by then, ``name`` and ``value``: ``loss`` (mean
over the steps since the row before, nats a token of the answer, which is the letter and the end after it),
``letter_loss`` (of the letter alone; ln 20 = 3.00 is guessing among 20), ``learning_rate`` (USGM's is 1 / H),
``grad_norm``, ``validation_ndcg_10`` (of the validation users whose target the retriever found, candidates shuffled).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow
import pyarrow.parquet

from ssm4rec.errors import InputError
from ssm4rec.files import whole_file

_SCHEMA = pyarrow.schema(
    [
        ("step", pyarrow.int32()),
        ("prompts", pyarrow.int32()),
        ("name", pyarrow.string()),
        ("value", pyarrow.float64()),
    ]
)


@dataclass(frozen=True)
class TuningRow:
    """One number of a fine-tuning."""

    step: int
    prompts: int
    name: str
    value: float


def write_tuning_history(path: Path, rows: Sequence[TuningRow]) -> None:
    """Write history.parquet, whole or not at all."""
    with whole_file(path) as partial:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([asdict(row) for row in rows], _SCHEMA), partial)


def read_tuning_history(path: Path) -> list[TuningRow]:
    """Read history.parquet.

    Raises:
        InputError: it is missing or no such file.
    """
    try:
        table = pyarrow.parquet.read_table(path, schema=_SCHEMA)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run finetune_llm first") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: not the history of a fine-tuning ({error}); run finetune_llm again") from None
    return [TuningRow(**row) for row in table.to_pylist()]

"""How popular items are, for users of whom nothing is known: ``popularity.parquet`` of a champion, or one's own.

Columns: ``item_id`` string, the data set's, each once; ``score`` float64, higher is more popular.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow

from ssm4rec.artifacts.codec import read_table, required, write_table
from ssm4rec.runtime.errors import InputError

_SCORES: Final = pyarrow.schema([*required(pyarrow.string(), "item_id"), *required(pyarrow.float64(), "score")])


def write_popularity(path: Path, scores: Mapping[str, float]) -> None:
    """Write scores by the ids of items."""
    write_table(path, pyarrow.table([[*scores], [*scores.values()]], schema=_SCORES))


def read_popularity(path: Path) -> dict[str, float]:
    """Return scores by the ids of items; raise InputError if the file is missing, damaged or names an item twice."""
    table = read_table(path, _SCORES, "the popularity of items", "register_champion")
    scores = dict(zip(table.column("item_id").to_pylist(), table.column("score").to_pylist(), strict=True))
    if len(scores) < len(table):
        raise InputError(f"{path}: several rows have one item_id; run register_champion again")
    return scores

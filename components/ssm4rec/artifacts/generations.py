"""What evaluate_generator found: generation.json, which the report reads without torch, and a file of the lists.

generation.json: ``source`` of the language model, its ``parameters``, ``from_scratch``: not pretrained; ``users``
evaluated of ``users_in_split``, drawn by seed; ``k1`` and ``b`` of BM25; ``queries`` per user; ``tokens_per_second``
generated, ``batch`` users at a time; and ``rows`` of the model and of ``most-popular``, whose seed is null, with their
``standard_error`` over the users, null for a single user. The protocol is ``masked`` always: queries find new items
only. A target that is not in the list is missed.

lists.parquet, a row per user: ``user`` int32 0..U-1; ``target`` int32, the next item; ``history_length`` int32;
``rank`` int32, the target's place in the list, 0 if it is not there; ``items`` list<int32>, the list, best first;
``queries`` list<string>, the generated texts that found it, likeliest first. The file's metadata carries dataset and
fingerprint.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import pyarrow

from ssm4rec.artifacts.codec import Amount, Count, Document, Positive, Share, write_table
from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.estimate import interval_text
from ssm4rec.artifacts.evaluations import ResultRow

_LISTS_SCHEMA: Final = pyarrow.schema(
    [
        *((name, pyarrow.int32()) for name in ("user", "target", "history_length", "rank")),
        ("items", pyarrow.list_(pyarrow.int32())),
        ("queries", pyarrow.list_(pyarrow.string())),
    ]
)


@dataclass(frozen=True)
class UserList:
    """A row of lists.parquet; the fields are described above."""

    user: int
    target: int
    history_length: int
    rank: int
    items: list[int]
    queries: list[str]


@dataclass(frozen=True)
class GenerationRow(ResultRow):
    """One number of one model."""

    standard_error: Amount | None

    @property
    def shown(self) -> str:
        """The value with its 95% interval over users, if it has one."""
        return interval_text(self.value, self.standard_error)


@dataclass(frozen=True)
class GenerationSummary(Document, what="the generation.json of an evaluated generator", made_by="evaluate_generator"):
    """generation.json as an object; the fields are described above."""

    dataset: str
    fingerprint: str
    model: str
    seed: Count
    profile: str
    split: str
    source: str
    parameters: Count
    from_scratch: bool
    users: Positive
    users_in_split: Positive
    k1: Amount
    b: Share
    queries: Positive
    tokens_per_second: Amount
    batch: Positive
    device: str
    rows: tuple[GenerationRow, ...]


def write_lists(path: Path, dataset: SequenceDataset, lists: Sequence[UserList]) -> None:
    """Write lists.parquet, whole or not at all."""
    schema = _LISTS_SCHEMA.with_metadata(dataset.metadata)
    write_table(path, pyarrow.Table.from_pylist([asdict(row) for row in lists], schema))

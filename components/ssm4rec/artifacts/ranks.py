"""ranks.parquet, which an evaluation writes, and what it shares with candidates.parquet (``candidates.py``).

One row per target of the split: ``user`` int32, ``target`` int32, ``history_length`` int32, ``rank_unmasked`` and
``rank_masked`` int32 (1 = best; masked, ``MISSED`` for an item of the history), and the ranks that each baseline of
``names.BASELINES`` gives the same target: ``most_popular_rank_unmasked``, ``most_popular_rank_masked``,
``most_recent_rank_unmasked`` ... (``most_popular_lately_...`` with ``--splitting global-time`` only). ``user_id`` and
``item_id``, strings: what the source calls user and target.

Rows are in ascending order of ``user``, and of ``history_length`` within a user. The metadata carries the data set's
name and fingerprint, model, seed and split, so that files of two data sets are never taken together, and by how many
shards of users the targets were ranked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy
import pyarrow

from ssm4rec.artifacts.codec import read_table, required, text_of, write_blocks
from ssm4rec.artifacts.dataset import Int32s, Int64s, SequenceDataset, Split, check_made_of
from ssm4rec.artifacts.items import SourceIds
from ssm4rec.artifacts.names import (
    BASELINES,
    MASKED,
    PROTOCOLS,
    SPLITS,
    TIME_BASELINES,
)
from ssm4rec.runtime.errors import InputError

MODEL_KEY: Final = b"ssm4rec.model"
SEED_KEY: Final = b"ssm4rec.seed"
SPLIT_KEY: Final = b"ssm4rec.split"
SHARDS_KEY: Final = b"ssm4rec.shards"

_TARGETS_AT_ONCE: Final = 1 << 20

MISSED: Final = 2**30
"""The rank of a target that counts as missed at every cutoff: above every catalog's size."""

_BASELINE_COLUMNS: Final = {
    name: tuple(f"{name.replace('-', '_')}_rank_{protocol}" for protocol in PROTOCOLS) for name in TIME_BASELINES
}
"""Of each baseline: its unmasked and its masked ranks; those of a baseline that was not evaluated are null."""

_SCHEMA: Final = pyarrow.schema(
    [
        *required(pyarrow.int32(), "user", "target", "history_length", "rank_unmasked", "rank_masked"),
        *(
            pyarrow.field(column, pyarrow.int32(), nullable=name not in BASELINES)
            for name, columns in _BASELINE_COLUMNS.items()
            for column in columns
        ),
    ]
)


@dataclass(frozen=True)
class FullRanking:
    """Ranks (1 = best) of a split's T targets, and candidates for its n users.

    Attributes:
        users: of the targets, ascending, (T,).
        targets: their items, (T,).
        history_lengths: how many items their user had before them, ascending within a user, (T,).
        unmasked, masked: their ranks, (T,).
        first: whether a target is its user's first one, (T,); n of them are.
        candidates: best first, before each user's first target, (n, K).
        candidate_scores: (n, K).
        unmasked_candidates: the best of the whole catalog, (n, K) or of as many columns as there are.
    """

    users: Int64s
    targets: Int64s
    history_lengths: Int64s
    unmasked: Int64s
    masked: Int64s
    first: numpy.ndarray[tuple[int], numpy.dtype[numpy.bool_]]
    candidates: numpy.ndarray[tuple[int, int], numpy.dtype[numpy.int64]]
    candidate_scores: numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]
    unmasked_candidates: numpy.ndarray[tuple[int, int], numpy.dtype[numpy.int64]]


@dataclass(frozen=True)
class Ranks:
    """ranks.parquet as arrays (T,), users ascending, history lengths ascending within a user.

    ``baselines`` holds the unmasked and the masked ranks of each baseline that was evaluated; ``shards`` of users were
    ranked each by itself, 1: all users at once.
    """

    users: Int32s
    targets: Int32s
    history_lengths: Int32s
    unmasked: Int32s
    masked: Int32s
    baselines: Mapping[str, tuple[Int32s, Int32s]]
    model: str
    seed: int
    split: str
    shards: int = 1

    def of(self, protocol: str) -> Int32s:
        """Return the model's ranks by a protocol."""
        return self.masked if protocol == MASKED else self.unmasked


class Origin(NamedTuple):
    """What a ranking is of."""

    dataset: SequenceDataset
    model: str
    seed: int
    split: str
    ids: SourceIds | None = None
    """What else the files call users and items."""
    shards: int = 1
    """Of users, each ranked by itself."""

    def metadata(self) -> dict[bytes, bytes]:
        """Return what a file says of it."""
        own = {MODEL_KEY: self.model.encode(), SEED_KEY: str(self.seed).encode(), SPLIT_KEY: self.split.encode()}
        return self.dataset.metadata | own | {SHARDS_KEY: str(self.shards).encode()}


def write_ranks(path: Path, origin: Origin, ranking: FullRanking, baselines: Mapping[str, FullRanking]) -> None:
    """Write ranks.parquet: the ranks of the model and of every baseline, target by target."""
    starts = range(0, len(ranking.users), _TARGETS_AT_ONCE)
    blocks = (slice(start, start + _TARGETS_AT_ONCE) for start in starts)
    write_blocks(path, (_block(origin, ranking, baselines, rows) for rows in blocks))


def _block(origin: Origin, ranking: FullRanking, baselines: Mapping[str, FullRanking], rows: slice) -> pyarrow.Table:
    users, targets = ranking.users[rows], ranking.targets[rows]
    columns = dict.fromkeys(_SCHEMA.names, pyarrow.nulls(len(users)))
    columns |= {"user": users, "target": targets, "history_length": ranking.history_lengths[rows]}
    columns |= {"rank_unmasked": ranking.unmasked[rows], "rank_masked": ranking.masked[rows]}
    for name, (unmasked, masked) in _BASELINE_COLUMNS.items():
        if found := baselines.get(name):
            columns[unmasked], columns[masked] = found.unmasked[rows], found.masked[rows]
    table = pyarrow.table(columns, _SCHEMA.with_metadata(origin.metadata()))
    if origin.ids:
        table = table.add_column(1, "user_id", origin.ids.users.take(table.column("user").chunk(0)))
        table = table.add_column(3, "item_id", origin.ids.items.take(pyarrow.array(targets - 1)))
    return table


def read_ranks(path: Path, dataset: SequenceDataset) -> Ranks:
    """Read ranks.parquet; raise InputError if it is damaged, of another data set, or not of its split's targets."""
    table, origin = read_evaluation(path, _SCHEMA, dataset, "ranks")
    shards = text_of(table.schema.metadata, SHARDS_KEY) or "1"  # files of earlier versions do not say
    if not shards.isdecimal():
        raise InputError(f"{path}: ranks of {shards!r} shards of users; run evaluate again")
    present = [name for name in _SCHEMA.names if table.column(name).null_count < len(table)]
    columns = {name: table.column(name).to_numpy() for name in present}
    users, places = columns["user"], columns["history_length"]
    if _not_targets(dataset, origin["split"], users, places, columns["target"]):
        raise InputError(f"{path}: the targets are not those of the {origin['split']} split; run evaluate again")
    for name in present[3:]:
        values = columns[name]
        missed = name.endswith(MASKED) & (values == MISSED)
        if not ((values >= 1) & (values <= dataset.item_count) | missed).all():  # a missing one is NaN
            raise InputError(f"{path}: {name} is not always in 1..{dataset.item_count}; run evaluate again")
    return Ranks(
        users=users,
        targets=columns["target"],
        history_lengths=places,
        unmasked=columns["rank_unmasked"],
        masked=columns["rank_masked"],
        baselines={
            name: (columns[unmasked], columns[masked])
            for name, (unmasked, masked) in _BASELINE_COLUMNS.items()
            if {unmasked, masked} <= columns.keys()
        },
        **origin,
        shards=int(shards),
    )


def _not_targets(dataset: SequenceDataset, split: Split, users: Int32s, places: Int32s, targets: Int32s) -> bool:
    """Return whether any of these are not targets of a split, each once."""
    owners, wanted = dataset.targets(split)
    longest = int(numpy.diff(dataset.offsets).max())
    if (places < 0).any() or (places >= longest).any():
        return True
    known, given = owners * longest + wanted, users.astype(numpy.int64) * longest + places
    strangers = (numpy.diff(given) <= 0).any() or not numpy.isin(given, known).all()
    return bool(strangers or (dataset.items[dataset.offsets[users] + places] != targets).any())


def read_evaluation(
    path: Path, schema: pyarrow.Schema, dataset: SequenceDataset, content: str, optional: tuple[str, ...] = ()
) -> tuple[pyarrow.Table, dict[str, Any]]:
    """Return the table of ranks or candidates, in one chunk, and the model, seed and split that it is of.

    ``content``: what it holds, in words; ``optional``: columns that earlier versions did not write. Raise InputError
    if it is damaged, or of another data set than ``dataset``.
    """
    table = read_table(path, schema, f"the {content} of an evaluation", "evaluate", optional)
    metadata = table.schema.metadata
    model, seed, split = (text_of(metadata, key) for key in (MODEL_KEY, SEED_KEY, SPLIT_KEY))
    if not model or not seed.isdecimal():
        raise InputError(f"{path}: does not say what it is an evaluation of; run evaluate again")
    check_made_of(path, metadata, dataset, content)
    if split not in SPLITS:
        raise InputError(f"{path}: {content} of an unknown split {split!r}; run evaluate again")
    users = table.column("user").to_numpy()
    if users[0] < 0 or users[-1] >= dataset.user_count or (numpy.diff(users) < 0).any():
        raise InputError(f"{path}: users are not in ascending order in 0..{dataset.user_count - 1}; run evaluate again")
    return table, {"model": model, "seed": int(seed), "split": split}

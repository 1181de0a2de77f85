"""candidates.parquet, which an evaluation writes: the best items of each user, which a language model ranks again.

One row per user of the split: ``user`` int32, ``items`` list<int32>, the best K = 20 items, history masked, best
first, and their ``scores`` list<float32>, before the user's first target. ``user_id`` and ``item_ids``: what the source
calls them. No stage reads the source's ids. ``unmasked_items`` list<int32>: the best 20 of the whole catalog, history
included, as a server gives them. ``most_popular_items``, ``most_popular_unmasked_items``, ``markov_items`` ...
list<int32>: the same of each of ``names.LISTED_BASELINES``; null where it was not evaluated. ``unmasked_item_ids``,
``most_popular_item_ids`` ...: what the source calls the items of each list.

Users are ascending; the metadata is that of ``ranks.py``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy
import pyarrow

from ssm4rec.artifacts.codec import required, write_blocks
from ssm4rec.artifacts.dataset import Int32s, SequenceDataset
from ssm4rec.artifacts.names import CANDIDATES_PER_USER, LISTED_BASELINES
from ssm4rec.artifacts.ranks import FullRanking, Origin, read_evaluation
from ssm4rec.runtime.errors import InputError

_LIST_COLUMNS: Final = {name: f"{name.replace('-', '_')}_items" for name in LISTED_BASELINES}
_MODEL: Final = ""
_UNMASKED_COLUMNS: Final = {
    _MODEL: "unmasked_items",
    **{name: f"{name.replace('-', '_')}_unmasked_items" for name in LISTED_BASELINES},
}
"""Of the lists from the whole catalog."""
_SCHEMA: Final = pyarrow.schema(
    [
        *required(pyarrow.int32(), "user"),
        *required(pyarrow.list_(pyarrow.int32()), "items"),
        *required(pyarrow.list_(pyarrow.float32()), "scores"),
        *(pyarrow.field(column, pyarrow.list_(pyarrow.int32())) for column in _LIST_COLUMNS.values()),
        *(pyarrow.field(column, pyarrow.list_(pyarrow.int32())) for column in _UNMASKED_COLUMNS.values()),
    ]
)

_USERS_AT_ONCE: Final = 1 << 16
"""With the source's ids, their lists take some 3 kB each while they are written."""

_Lists = numpy.ndarray[tuple[int, int], numpy.dtype[numpy.int32]]
"""Items of users, best first, 0 behind the last of a shorter list, (n, K)."""


@dataclass(frozen=True)
class Candidates:
    """candidates.parquet as arrays of n users, ascending, and K = 20 candidates, best first, each (n, K).

    Where a user has fewer candidates, ``items`` is 0 and ``scores`` minus infinity. ``baselines``: the items of each
    baseline whose lists were kept; ``unmasked``: the lists from the whole catalog of the model and of these baselines,
    by their names; none in files of earlier versions.
    """

    users: Int32s
    items: _Lists
    scores: numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float32]]
    model: str
    seed: int
    split: str
    baselines: Mapping[str, _Lists] = field(default_factory=dict)
    unmasked: Mapping[str, _Lists] = field(default_factory=dict)


def write_candidates(path: Path, origin: Origin, ranking: FullRanking, baselines: Mapping[str, FullRanking]) -> None:
    """Write candidates.parquet; a user who has had nearly all items gets fewer than K candidates.

    ``baselines`` have as many candidates as the model, where they are of ``LISTED_BASELINES``.
    """
    users = ranking.users[ranking.first].astype(numpy.int32)
    starts = range(0, len(users), _USERS_AT_ONCE)
    blocks = (slice(start, start + _USERS_AT_ONCE) for start in starts)
    write_blocks(path, (_block(origin, users, ranking, baselines, rows) for rows in blocks))


def _block(
    origin: Origin, users: Int32s, ranking: FullRanking, baselines: Mapping[str, FullRanking], rows: slice
) -> pyarrow.Table:
    scores = ranking.candidate_scores[rows]
    present = numpy.isfinite(scores)
    offsets = pyarrow.array(numpy.concatenate([[0], present.sum(axis=1).cumsum()]).astype(numpy.int32))
    items = ranking.candidates[rows][present].astype(numpy.int32)
    lists = [pyarrow.ListArray.from_arrays(offsets, values) for values in (items, scores[present])]
    nothing = pyarrow.nulls(len(scores))
    for name in LISTED_BASELINES:
        kept = baselines[name].candidates[rows][present].astype(numpy.int32) if name in baselines else None
        lists.append(nothing if kept is None else pyarrow.ListArray.from_arrays(offsets, kept))
    for name in _UNMASKED_COLUMNS:
        found = baselines.get(name, ranking if name == _MODEL else None)
        whole = None if found is None else found.unmasked_candidates[rows].astype(numpy.int32)
        lists.append(nothing if whole is None else _equal_lists(whole))
    table = pyarrow.table([pyarrow.array(users[rows]), *lists], _SCHEMA.with_metadata(origin.metadata()))
    if origin.ids:
        for column in ("items", *_LIST_COLUMNS.values(), *_UNMASKED_COLUMNS.values()):
            items_of = table.column(column)
            if items_of.null_count == len(table) > 0:
                continue
            listed = items_of.chunk(0)
            names = origin.ids.items.take(pyarrow.array(listed.values.to_numpy() - 1))
            named = pyarrow.ListArray.from_arrays(listed.offsets, names)
            table = table.add_column(table.column_names.index(column) + 1, f"{column.removesuffix('s')}_ids", named)
        table = table.add_column(1, "user_id", origin.ids.users.take(table.column("user").chunk(0)))
    return table


def _equal_lists(items: _Lists) -> pyarrow.ListArray:
    """Return rows of as many items, (n, K), as a column of lists."""
    offsets = numpy.arange(len(items) + 1, dtype=numpy.int32) * items.shape[1]
    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets), pyarrow.array(items.reshape(-1)))


def read_candidates(path: Path, dataset: SequenceDataset) -> Candidates:
    """Read candidates.parquet; raise InputError if it is damaged, empty, or of another data set than ``dataset``."""
    earlier = tuple(_UNMASKED_COLUMNS.values())  # versions had none of these
    table, origin = read_evaluation(path, _SCHEMA, dataset, "candidates", earlier)
    if (numpy.diff(table.column("user").to_numpy()) == 0).any():
        raise InputError(f"{path}: a user stands there twice; run evaluate again")
    lengths = numpy.diff(table.column("items").chunk(0).offsets.to_numpy())
    if not lengths.any():
        raise InputError(f"{path}: empty, no user has a candidate; run evaluate again")
    padded = {}
    whole = numpy.full(len(table), min(CANDIDATES_PER_USER, dataset.item_count))
    for name in (name for name in table.column_names[1:] if table.column(name).null_count < len(table)):
        lists = table.column(name).chunk(0)
        expected = whole if name in _UNMASKED_COLUMNS.values() else lengths
        if not numpy.array_equal(expected, numpy.diff(lists.offsets.to_numpy())) or lengths.max() > CANDIDATES_PER_USER:
            raise InputError(
                f"{path}: a user's lists differ in number or have more than {CANDIDATES_PER_USER} items; "
                "run evaluate again"
            )
        values = lists.flatten().to_numpy(zero_copy_only=False)
        if name != "scores" and not ((values >= 1) & (values <= dataset.item_count)).all():  # a missing one is NaN
            raise InputError(f"{path}: {name} are not always in 1..{dataset.item_count}; run evaluate again")
        present = numpy.arange(CANDIDATES_PER_USER) < expected[:, None]
        padded[name] = numpy.full(present.shape, -numpy.inf if name == "scores" else 0, dtype=values.dtype)
        padded[name][present] = values
        if name != "scores":
            _check_once(path, name, table.column("user").to_numpy(), padded[name])
    baselines = {name: padded[column] for name, column in _LIST_COLUMNS.items() if column in padded}
    unmasked = {
        name or origin["model"]: padded[column] for name, column in _UNMASKED_COLUMNS.items() if column in padded
    }
    users = table.column("user").to_numpy()
    return Candidates(users, padded["items"], padded["scores"], **origin, baselines=baselines, unmasked=unmasked)


def _check_once(path: Path, name: str, users: Int32s, items: _Lists) -> None:
    """Raise InputError if a user's list names an item twice: it would be ranked twice."""
    ordered = numpy.sort(items, axis=1)
    rows, places = numpy.nonzero((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] > 0))
    if len(rows):
        user, item = users[rows[0]], ordered[rows[0], places[0]]
        raise InputError(f"{path}: {name} of user {user} name item {item} twice; run evaluate again")

"""pairs.parquet, the preference pairs that mine_preferences writes and align_llm reads.

A row a pair: ``user`` int32 0..U-1; ``winner`` and ``loser`` int32, items 1..V; ``history_length`` int32, the prompt's
history is the user's ``items[:history_length]``; ``origin`` string, ``ratings``, ``lightfm`` or ``retriever``;
``winner_rating`` and ``loser_rating`` float32, the user's, null but for pairs by ratings; ``winner_score`` and
``loser_score`` float32, LightFM's, or the retriever's of the loser alone, else null. Pairs by ratings come before
LightFM's, each part is in the order of the users. The file's metadata carries the data set's name and fingerprint.
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy
import pyarrow

from ssm4rec.artifacts.codec import read_table, required, write_table
from ssm4rec.artifacts.dataset import Flags, Float32s, Int32s, SequenceDataset, check_made_of
from ssm4rec.runtime.errors import InputError

RATINGS: Final = "ratings"
LIGHTFM: Final = "lightfm"
RETRIEVER: Final = "retriever"
ORIGINS: Final = (RATINGS, LIGHTFM, RETRIEVER)

_NUMBERS: Final = ("user", "winner", "loser", "history_length")
_SCHEMA: Final = pyarrow.schema(
    [
        *required(pyarrow.int32(), *_NUMBERS),
        *required(pyarrow.string(), "origin"),
        *((name, pyarrow.float32()) for name in ("winner_rating", "loser_rating", "winner_score", "loser_score")),
    ]
)


@dataclass(frozen=True)
class Pairs:
    """The columns of pairs.parquet in their order, each array (n,), with NaN where they are null."""

    users: Int32s
    winners: Int32s
    losers: Int32s
    history_lengths: Int32s
    origins: numpy.ndarray[tuple[int], numpy.dtype[numpy.str_]]
    winner_ratings: Float32s
    loser_ratings: Float32s
    winner_scores: Float32s
    loser_scores: Float32s

    def __len__(self) -> int:
        """Return n."""
        return len(self.users)

    def __add__(self, other: "Pairs") -> "Pairs":
        """Return these pairs and then the others."""
        return Pairs(
            *(numpy.concatenate([getattr(self, field.name), getattr(other, field.name)]) for field in fields(self))
        )


def write_pairs(path: Path, dataset: SequenceDataset, pairs: Pairs) -> None:
    """Write pairs.parquet, whole or not at all; raise InputError if there is no pair."""
    if not len(pairs):
        raise InputError(
            f"data set {dataset.name}: no preference pair, no user has a history and a winner and a loser after it; "
            "prepare data with longer histories, or keep the ratings"
        )
    columns = zip((getattr(pairs, field.name) for field in fields(pairs)), _SCHEMA.types, strict=True)
    arrays = [pyarrow.array(values, kind, from_pandas=True) for values, kind in columns]  # NaN is null
    write_table(path, pyarrow.table(arrays, _SCHEMA.with_metadata(dataset.metadata)))


def read_pairs(path: Path, dataset: SequenceDataset) -> Pairs:
    """Read pairs.parquet.

    Raise InputError if it is missing, damaged or empty, of another data set than ``dataset``, has a pair twice, or one
    that the data set cannot have: of an unknown item, without history, won by none of the training items that follow
    it, or lost by a training item of the user, unless by its rating it is the other one of these.
    """
    table = read_table(path, _SCHEMA, "the preference pairs of a data set", "mine_preferences")
    check_made_of(path, table.schema.metadata, dataset, "pairs")
    user, winner, loser, length = (table.column(name).to_numpy() for name in _NUMBERS)
    if not ((user >= 0) & (user < dataset.user_count)).all():
        raise InputError(f"{path}: users are not always in 0..{dataset.user_count - 1}; run mine_preferences again")
    origins = table.column("origin").to_numpy().astype(str)
    item = numpy.minimum(winner, loser), numpy.maximum(winner, loser)
    # The next one or, by rating, the one after it.
    last = numpy.maximum(dataset.train_length[user] - 1, 0)
    next_two = [dataset.items[dataset.offsets[user] + (length + more).clip(0, last)] for more in (0, 1)]
    won, lost = (numpy.logical_or(*(one == following for following in next_two)) for one in (winner, loser))
    had = _of_training(dataset, user, loser) & ~(lost & (origins == RATINGS))
    whose = f"item {loser[had.argmax()]}, from the training items of user {user[had.argmax()]}"
    again = numpy.ones(len(user), bool)
    again[numpy.unique(numpy.stack([user, winner, loser, length]), axis=1, return_index=True)[1]] = False
    for at_fault, what in (
        ((item[0] < 1) | (item[1] > dataset.item_count), f"an item outside 1..{dataset.item_count}"),
        (winner == loser, "the same item as winner and loser"),
        ((length < 1) | (length >= dataset.train_length[user]), "a history that is empty or not of the training part"),
        (~won, "a winner that is not one of the next two training items"),
        (~numpy.isin(origins, ORIGINS), f"an origin other than {', '.join(ORIGINS)}"),
        (had, f"a loser, {whose}"),
        (again, "a pair that an earlier row has"),
    ):
        if at_fault.any():
            raise InputError(f"{path}: row {at_fault.argmax()} has {what}; run mine_preferences again")
    ratings_and_scores = (table.column(name).to_numpy() for name in _SCHEMA.names[5:])
    return Pairs(user, winner, loser, length, origins, *ratings_and_scores)


def _of_training(dataset: SequenceDataset, users: Int32s, items: Int32s) -> Flags:
    """Return whether each item is of its user's training items; arrays (n,)."""
    owners = numpy.repeat(numpy.arange(dataset.user_count, dtype=numpy.int64), numpy.diff(dataset.offsets))
    width, trained = dataset.item_count + 1, dataset.trained()
    return numpy.isin(users * numpy.int64(width) + items, owners[trained] * width + dataset.items[trained])

"""Times and ratings of the events of a dataset folder, from its interactions.parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy
import pyarrow

from ssm4rec.artifacts.codec import read_blocks, required
from ssm4rec.artifacts.dataset import Float32s, Int64s, SequenceDataset
from ssm4rec.artifacts.names import INTERACTIONS, SEQUENCES
from ssm4rec.artifacts.user_blocks import BLOCK_EVENTS
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.large_arrays import IN_MEMORY, joined

_ITEM: Final = required(pyarrow.int32(), "item")
_RATINGS: Final = pyarrow.schema([*_ITEM, ("rating", pyarrow.float32())])
_TIMES: Final = pyarrow.schema([*_ITEM, *required(pyarrow.int64(), "time")])
"""Of the interactions, whose column ``user`` says what the sequences say."""


def read_ratings(folder: Path, dataset: SequenceDataset) -> Float32s:
    """Return the rating of every event in the order of ``dataset.items``, NaN where there is none."""
    return _interactions(folder, dataset, _RATINGS, IN_MEMORY)


def read_times(folder: Path, dataset: SequenceDataset) -> Int64s:
    """Return the time of every event in the order of ``dataset.items``: milliseconds since 1970, or order numbers."""
    return _interactions(folder, dataset, _TIMES, IN_MEMORY)


def _interactions(
    folder: Path, dataset: SequenceDataset, schema: pyarrow.Schema, in_memory: int
) -> numpy.ndarray[tuple[int], Any]:
    """Return the second column of a schema from interactions.parquet; raise InputError for events of other data."""
    path, count = folder / INTERACTIONS, len(dataset.items)
    at_once = BLOCK_EVENTS if count > in_memory else None

    def values() -> Iterator[numpy.ndarray[tuple[int], Any]]:
        start, same = 0, True
        for block in read_blocks(path, schema, "the interactions of a dataset folder", "prepare_data", at_once):
            stop = start + len(block)
            same = numpy.array_equal(block.column("item").to_numpy(), dataset.items[start:stop])
            if not same:
                break
            yield block.column(1).to_numpy()
            start = stop
        if start < count or not same:
            raise InputError(f"{path}: its events are not those of {SEQUENCES} next to it; run prepare_data again")

    kind = schema.types[1].to_pandas_dtype()
    return joined(values(), kind, count, f"column {schema.names[1]} of {path}", in_memory)

"""Files of events that have not been read yet: what every engine reads, in one process or in several."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.interactions import Columns, Interactions, encode


class EventFile(Protocol):
    """A file of events; another process can be handed it.

    ``name``: for messages. ``bytes``: its size as it is stored, which tells how many events it may hold.
    """

    @property
    def name(self) -> str: ...  # noqa: D102

    @property
    def bytes(self) -> int: ...  # noqa: D102

    def batches(self, bad_rows: BadRows) -> Iterator[pyarrow.RecordBatch]:
        """Stream the columns wanted of it; raise InputError, also while they are read, if it is malformed."""


@dataclass(frozen=True)
class EventFiles:
    """The files of a data set's events, in their order.

    ``time_unit`` is that of numbers in the time column, or ``auto``; ``bad_rows`` counts what is dropped of them.
    """

    files: tuple[EventFile, ...]
    columns: Columns
    time_unit: str
    bad_rows: BadRows

    def read(self) -> Interactions:
        """Read all of them into memory; raise InputError as :func:`encode` does."""
        files = ((file.name, file.batches(self.bad_rows)) for file in self.files)
        return encode(files, self.columns, self.time_unit, self.bad_rows)

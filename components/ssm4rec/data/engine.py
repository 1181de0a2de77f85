"""What prepares events: polars in one process, or several processes of Ray; the dataset folder is the same."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from ssm4rec.data.event_files import EventFiles
from ssm4rec.data.filtering import Filters
from ssm4rec.data.sequences import Sequences
from ssm4rec.runtime.ray_cluster import ray_cluster

POLARS: Final = "polars"
RAY: Final = "ray"
ENGINES: Final = (POLARS, RAY)
WITHOUT_RAY: Final = f"use --engine {POLARS}"


class ReadEvents(Protocol):
    """Events that an engine has read; ``time_unit`` as in ``Interactions``."""

    @property
    def time_unit(self) -> str: ...  # noqa: D102

    def sequences(self, order: str, filters: Filters) -> tuple[Sequences, list[dict[str, Any]]]:
        """Order the events, filter them and number users and items, once; return also what each filter left.

        ``order`` is of ``EVENT_ORDERS``. Raise InputError if nothing is left.
        """


@contextmanager
def read_by(engine: str, workers: int, events: EventFiles) -> Iterator[ReadEvents]:
    """Read events by an engine, which works while the block runs; ``workers`` of Ray on this machine, 0: all cores.

    Raise InputError if the events cannot be read, or Ray does not start.
    """
    if engine == POLARS:
        yield events.read()
        return
    from ssm4rec.data.ray_engine import part_count, read_in_parts  # nothing else needs it

    with ray_cluster(workers, 0, WITHOUT_RAY):
        yield read_in_parts(events, part_count(events))

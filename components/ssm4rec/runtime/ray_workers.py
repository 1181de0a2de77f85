"""Parts of a work, by this process or by several of Ray Data, an actor per core or GPU.

What a killed actor had not finished another one does again.
"""

import logging
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.ray_cluster import names_cluster, ray_cluster, room

Part = TypeVar("Part")
Result = TypeVar("Result")


class _Actor:
    """Does parts, given where Ray keeps the function that does one."""

    def __init__(self, kept: list[Any]) -> None:
        import ray

        # In a list: an argument itself would be fetched by Ray, which does not restart an actor of such arguments.
        self._do = ray.get(kept[0])

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Do the one part of a batch; hand back the part and its result, or what the user can mend."""
        part = pickle.loads(*batch["part"])  # noqa: S301 - of this program's own
        try:
            return {"done": [pickle.dumps((part, self._do(part)))], "fault": [b""]}
        except (InputError, OSError) as error:
            return {"done": [b""], "fault": [pickle.dumps(error)]}


def in_parts(
    do: Callable[[Part], Result], parts: Sequence[Part], workers: int, device: str
) -> Iterator[tuple[Part, Result]]:
    """Do all parts and yield each with its result: in turn if ``workers`` is 1, else as :func:`on_ray` does.

    One part alone is not worth a start of Ray, but a cluster's, whose nodes may have what this machine lacks.
    """
    if workers != 1 and parts and (len(parts) > 1 or names_cluster()):
        return on_ray(do, parts, workers, device)
    return ((part, do(part)) for part in parts)


def on_ray(
    do: Callable[[Part], Result], parts: Sequence[Part], workers: int, device: str
) -> Iterator[tuple[Part, Result]]:
    """Do all parts by up to ``workers`` actors, 0: as many as Ray has room for, and yield each when it is done.

    That is in any order. ``do`` and what it holds are copied to each node once; each actor has a core, and a GPU if
    ``device`` is cuda. Raise InputError if Ray does not start, or its cluster does not answer; what ``do`` raises of
    InputError and OSError is raised here.
    """
    gpus = 1 if device == "cuda" else 0
    with ray_cluster(workers, gpus, "leave --workers out"):
        import ray.data  # seconds to import

        logging.getLogger("ray.data").setLevel(logging.ERROR)  # no progress bars, and no lines about their absence
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        kept = ray.put(do)
        most = workers or room(gpus)
        items = [{"part": pickle.dumps(part)} for part in parts]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Actor,
            fn_constructor_args=([kept],),
            batch_size=1,
            num_cpus=1,
            num_gpus=gpus,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=min(most, len(items))),
        )
        for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
            for part, fault in zip(batch["done"], batch["fault"], strict=True):
                if fault:
                    raise pickle.loads(fault)  # noqa: S301
                yield pickle.loads(part)  # noqa: S301

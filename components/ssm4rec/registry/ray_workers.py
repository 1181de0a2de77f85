"""Parts of a work by several processes of Ray Data, an actor per core or GPU.

Ray starts on this machine, or, where RAY_ADDRESS names a cluster, works there: then files are on storage that all its
nodes share. What a killed actor had not finished another one does again.
"""

import logging
import os
import pickle
import re
import secrets
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import torch

from ssm4rec.runtime.errors import InputError, reason

Part = TypeVar("Part")

_ADDRESS: Final = "RAY_ADDRESS"
_ANSWERS_WITHIN: Final = 20.0  # seconds


class _Actor:
    """Does parts, given where Ray keeps the function that does one."""

    def __init__(self, kept: list[Any]) -> None:
        import ray

        # In a list: an argument itself would be fetched by Ray, which does not restart an actor of such arguments.
        self._do = ray.get(kept[0])

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        """Do the one part of a batch; hand back the part, or what the user can mend."""
        (part,) = batch["part"]
        try:
            self._do(pickle.loads(part))  # noqa: S301 - of this program's own
        except (InputError, OSError) as error:
            return {"done": [b""], "fault": [pickle.dumps(error)]}
        return {"done": [part], "fault": [b""]}


def on_ray(do: Callable[[Part], None], parts: Sequence[Part], workers: int, device: torch.device) -> Iterator[Part]:
    """Do all parts by up to ``workers`` actors, each with a GPU if ``device`` is one, and yield each when it is done.

    ``do`` and what it holds are copied to each node once. Raise InputError if Ray does not start, or its cluster does
    not answer; what ``do`` raises of InputError and OSError is raised here.
    """
    _check_answers(os.environ.get(_ADDRESS, ""))
    _choose_settings()
    import ray.data  # an extra, and seconds to import

    gpus = 1 if device.type == "cuda" else 0
    with _cluster(workers, gpus * workers):
        logging.getLogger("ray.data").setLevel(logging.ERROR)  # no progress bars, and no lines about their absence
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        kept = ray.put(do)
        items = [{"part": pickle.dumps(part)} for part in parts]
        done = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            _Actor,
            fn_constructor_args=([kept],),
            batch_size=1,
            num_cpus=1,
            num_gpus=gpus,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=workers, initial_size=min(workers, len(items))),
        )
        for batch in done.iter_batches(batch_size=None, prefetch_batches=0):
            for part, fault in zip(batch["done"], batch["fault"], strict=True):
                if fault:
                    raise pickle.loads(fault)  # noqa: S301
                yield pickle.loads(part)  # noqa: S301


def _choose_settings() -> None:
    """Set the variables that Ray reads when it is imported, but for those that are set."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # At "error" every actor of Ray Data (2.60) warns of its own arguments.
        "RAY_BACKEND_LOG_LEVEL": "fatal",
    }
    if not os.environ.get(_ADDRESS):
        # Its ports are open to other machines. A token of Ray's own would lie in a file that all users here may read.
        settings |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    for name, value in settings.items():
        os.environ.setdefault(name, value)


@contextmanager
def _cluster(workers: int, gpus: int) -> Iterator[None]:
    """Start Ray on this machine, or find the cluster, and leave it at the end."""
    import ray

    address = os.environ.get(_ADDRESS, "")
    here: dict[str, Any] = {} if address else {"num_cpus": workers, "num_gpus": gpus, "include_dashboard": False}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **here)
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"{_ADDRESS} {address}: Ray does not connect" if address else "Ray does not start here"
        raise InputError(f"{where} ({reason(error)}); mend that, or leave --workers out") from None
    try:
        for number, handler in handlers.items():  # Ray has put its own in their place
            signal.signal(number, handler)
        yield
    finally:
        ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise InputError if nothing listens at the address of a cluster: Ray would try for some minutes."""
    place = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", address)
    if not place:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=_ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"{_ADDRESS} {address}: no Ray cluster answers there ({reason(error)}); mend that, or leave --workers out"
        ) from None

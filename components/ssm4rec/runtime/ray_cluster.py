"""Ray, on this machine or on the cluster that RAY_ADDRESS names: its start, its end, and what its errors mean.

On a cluster the nodes have this package in this version, and files are on storage that all of them share.
"""

import functools
import logging
import os
import re
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Final

from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.ray_servers import watched

log = logging.getLogger(__name__)

_ADDRESS: Final = "RAY_ADDRESS"
_HERE: Final = "local"
"""The address by which Ray starts on this machine, as it does without any (ray/_private/worker.py, ``init``)."""
_TMPDIR: Final = "RAY_TMPDIR"
_ANSWERS_WITHIN: Final = 20.0  # seconds
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What a client of HTTP/2, and so of gRPC, says first: with no settings (RFC 9113, 3.4)."""
_SETTINGS: Final = 4
"""The type of frame with which a server begins its answer (RFC 9113, 3.4 and 6.5)."""
_TOLD_AFTER: Final = 15.0  # seconds; processes start in some
_FREE_WITHIN: Final = 600.0
"""Seconds: a cluster that grows has another node in some minutes."""
_QUIET: Final = 300.0
"""Seconds without a result after which a line says so, each time."""


@contextmanager
def ray_cluster(workers: int, gpus: int, way_out: str) -> Iterator[None]:
    """Start Ray on this machine for so many processes, or find the cluster, and leave it at the end.

    A Ray that runs already in this process is used, and stays. Raise InputError if Ray does not start, its cluster does
    not answer, or has no core, or no GPU where some are wanted, free in time.

    Args:
        workers: each has a core of this machine; 0: as many as it has.
        gpus: of each, 0 or 1.
        way_out: how to do without Ray.
    """
    address = _address()
    if not address and not Path(os.environ.get(_TMPDIR, "/")).is_absolute():  # Ray would wait for half a minute
        raise InputError(f"{_TMPDIR} {os.environ[_TMPDIR]}: Ray needs a path from the root on; mend that, or {way_out}")
    _check_answers(address, way_out)
    _choose_settings(address)
    import ray  # an extra, and seconds to import

    if ray.is_initialized():
        _await_free(gpus, way_out)
        yield
        return
    cores = workers or len(os.sched_getaffinity(0))
    counted = gpus * workers if workers or not gpus else None  # None: Ray counts this machine's
    here: dict[str, Any] = {"num_cpus": cores, "num_gpus": counted, "include_dashboard": False}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with nullcontext() if address else watched(way_out):
            try:
                # No lines of its own: what fails is said in one of ours.
                ray.init(logging_level=logging.CRITICAL, log_to_driver=False, **({} if address else here))
            except Exception as error:  # Ray raises Exception itself, of a machine on which it starts too slowly
                where = f"{_ADDRESS} {address}: Ray does not connect" if address else "Ray does not start here"
                raise InputError(f"{where} ({reason(error)}); mend that, or {way_out}") from None
            for number, handler in handlers.items():  # Ray has put its own in their place
                signal.signal(number, handler)
            if address:  # else nobody has the cores yet
                _await_free(gpus, way_out)
            yield
    finally:
        ray.shutdown()


def _await_free(gpus: int, way_out: str) -> None:
    """Wait until a function with so many GPUs could start; say so if that lasts, raise InputError if too long."""
    import ray

    began = ray.remote(num_cpus=1, num_gpus=gpus)(_nothing).remote()
    if not ray.wait([began], timeout=_TOLD_AFTER)[0]:
        wanted = "free core with a GPU" if gpus else "free core"
        log.info(
            "Ray has no %s (%s): waiting up to %.0f seconds; `ray status` says what holds them",
            wanted, _free(), _FREE_WITHIN,
        )  # fmt: skip
        if not ray.wait([began], timeout=_FREE_WITHIN)[0]:
            ray.cancel(began)
            raise InputError(
                f"Ray had no {wanted} for {_FREE_WITHIN:.0f} seconds ({_free()}); end what holds them (`ray "
                f"status` lists it), add nodes, or {way_out}"
            )
        log.info("Ray has a %s", wanted)
    result(began)


def _nothing() -> None:
    """Show by its end that a function could start."""


def _free() -> str:
    """Return how many of Ray's cores and GPUs are free, such as ``0 of 8 cores``."""
    import ray

    free, all_of_them = ray.available_resources(), ray.cluster_resources()
    kinds = {"CPU": "cores", "GPU": "GPUs"}
    told = [
        f"{free.get(kind, 0):.0f} of {all_of_them[kind]:.0f} {name}"
        for kind, name in kinds.items()
        if kind in all_of_them
    ]
    return ", ".join(told) or "it has no cores"


def _address() -> str:
    """Return the cluster's address, "" where Ray starts here."""
    address = os.environ.get(_ADDRESS, "")
    return "" if address == _HERE else address


def names_cluster() -> bool:
    """Return whether RAY_ADDRESS names a cluster, which then does the work instead of this machine."""
    return bool(_address())


def room(gpus: int = 0) -> int:
    """Return for how many processes at a time Ray has a core each, and a GPU if ``gpus``, here or in its cluster."""
    import ray

    has = ray.cluster_resources()
    return max(1, min(int(has.get(kind, 1)) for kind in ("CPU", *(("GPU",) if gpus else ()))))


def submit(function: Callable[..., Any], *arguments: Any, returns: int = 1) -> Any:
    """Have a function of a module called by a process of Ray, which has one core; again, if that process is killed.

    Arguments may be what this returned, or :func:`share`: the function gets the values. Return where Ray keeps the
    result, or, of a function that returns several, a list of where it keeps each.
    """
    return _remote(function, returns).remote(*arguments)


@functools.cache
def _remote(function: Callable[..., Any], returns: int) -> Any:
    import ray

    return ray.remote(num_cpus=1, num_returns=returns)(function)


def share(value: Any) -> Any:
    """Copy a value to where Ray keeps it, once for all functions that get it."""
    import ray

    return ray.put(value)


def result(kept: Any) -> Any:
    """Wait for a result; raise what its function raised of InputError and OSError, and InputError if Ray fails.

    A line says now and then that there is none yet.
    """
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        while not ray.wait([kept], timeout=_QUIET)[0]:
            log.info(
                "no result of Ray's processes in %.0f seconds (%s free): they work, or wait for cores that others "
                "hold; `ray status` says who does, and Ctrl-C ends this",
                _QUIET, _free(),
            )  # fmt: skip
        return ray.get(kept)
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, (InputError, OSError)) and not isinstance(cause, RayError):
            raise cause from None
        if said := _said(cause):
            raise InputError(said) from None
        raise


def _said(error: BaseException) -> str:
    """Return what the user can mend of an error of Ray or of a process of its; "" of a bug."""
    from ray.exceptions import ObjectStoreFullError, OutOfDiskError, OutOfMemoryError, RayError, RayTaskError

    match error:
        case OutOfMemoryError() | MemoryError():
            return f"Ray's processes have too little memory ({reason(error)}); give them more, or use fewer --workers"
        case OutOfDiskError() | ObjectStoreFullError():
            return (
                f"Ray cannot keep what its processes hand each other ({reason(error)}); free space in its folder "
                "(RAY_TMPDIR, else /tmp)"
            )
        case RayError() if not isinstance(error, RayTaskError):
            return f"Ray gave up ({reason(error)}); run the command again"
    return ""


def _choose_settings(address: str) -> None:
    """Set the variables that Ray reads when it is imported, and its processes when they start, if they are not set."""
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        # At "error" every actor of Ray Data (2.60) warns of its own arguments.
        "RAY_BACKEND_LOG_LEVEL": "fatal",
        # An error is said once; Ray would print it again for each result that nobody asked for.
        "RAY_IGNORE_UNHANDLED_ERRORS": "1",
    }
    if not address:
        settings |= {
            # Its ports are open to other machines. A token of Ray's own would lie in a file that all users here may
            # read.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            # Ray's default is to try for ever, and what needs too much memory would be killed each time.
            "RAY_task_oom_retries": "3",
            "POLARS_MAX_THREADS": "1",  # each process has one core
        }
    for name, value in settings.items():
        os.environ.setdefault(name, value)


def _check_answers(address: str, way_out: str) -> None:
    """Raise InputError if a cluster's address has nothing, or what speaks no gRPC: Ray would try for minutes."""
    place = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", address)
    if not place:
        return
    first = b""
    try:
        with socket.create_connection((place[1], int(place[2])), timeout=_ANSWERS_WITHIN) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return
            connection.sendall(_PREFACE)
            with connection.makefile("rb") as answer:
                first = answer.read(9)  # the head of a frame
    except (OSError, OverflowError) as error:
        raise InputError(
            f"{_ADDRESS} {address}: no Ray cluster answers there ({reason(error)}); mend that, or {way_out}"
        ) from None
    if len(first) < 9 or first[3] != _SETTINGS:
        raise InputError(
            f"{_ADDRESS} {address}: what answers there is not a Ray cluster ({first!r}); give the address of its head, "
            f"such as HOST:6379, or {way_out}"
        )

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
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

from ssm4rec.runtime.errors import InputError, reason

_ADDRESS: Final = "RAY_ADDRESS"
_ANSWERS_WITHIN: Final = 20.0  # seconds


def check_installed(flag: str, way_out: str) -> None:
    """Raise InputError if Ray is not installed; ``flag`` asks for it, and ``way_out`` says how to do without."""
    if find_spec("ray") is None:
        raise InputError(f"{flag}: Ray is not installed; install it (pip install 'ssm4rec[ray]'), or {way_out}")


@contextmanager
def ray_cluster(workers: int, gpus: int, way_out: str) -> Iterator[None]:
    """Start Ray on this machine with so many cores and GPUs, or find the cluster, and leave it at the end.

    A Ray that runs already in this process is used, and stays. ``way_out`` says how to do without Ray. Raise InputError
    if Ray does not start, or its cluster does not answer.
    """
    address = os.environ.get(_ADDRESS, "")
    _check_answers(address, way_out)
    _choose_settings(address)
    import ray  # an extra, and seconds to import

    if ray.is_initialized():
        yield
        return
    here: dict[str, Any] = {} if address else {"num_cpus": workers, "num_gpus": gpus, "include_dashboard": False}
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        # No lines of its own: what fails is said in one of ours.
        ray.init(logging_level=logging.CRITICAL, log_to_driver=False, **here)
    except Exception as error:  # Ray raises Exception itself, of a machine on which it starts too slowly
        ray.shutdown()
        where = f"{_ADDRESS} {address}: Ray does not connect" if address else "Ray does not start here"
        raise InputError(f"{where} ({reason(error)}); mend that, or {way_out}") from None
    try:
        for number, handler in handlers.items():  # Ray has put its own in their place
            signal.signal(number, handler)
        yield
    finally:
        ray.shutdown()


def cores() -> int:
    """Return how many cores Ray has, here or in its cluster."""
    import ray

    return max(1, int(ray.cluster_resources().get("CPU", 1)))


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
    """Wait for a result; raise what its function raised of InputError and OSError, and InputError if Ray fails."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
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
    """Raise InputError if nothing listens at the address of a cluster: Ray would try for some minutes."""
    place = re.fullmatch(r"(?:ray://)?\[?([^/\]]+)\]?:(\d+)", address)
    if not place:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=_ANSWERS_WITHIN).close()
    except (OSError, OverflowError) as error:
        raise InputError(
            f"{_ADDRESS} {address}: no Ray cluster answers there ({reason(error)}); mend that, or {way_out}"
        ) from None

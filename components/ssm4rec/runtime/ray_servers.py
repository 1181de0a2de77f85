"""Ray's servers on this machine, children of this process: when one ends, this process says so and ends.

Without its gcs_server Ray (2.60) waits, deep in C++, for minutes, and then ends the process itself: with status 1, and
no exception that could be caught.
"""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

_NAMES: Final = ("gcs_server", "raylet")
_EVERY: Final = 1.0  # seconds
_RAYS_OWN: Final = 45.0
"""Seconds in which Ray may notice by itself, and raise: at its start it takes half a minute."""


@contextmanager
def watched(way_out: str) -> Iterator[None]:
    """End this process with status 2 and a line if one of Ray's servers ends; ``way_out`` says how to do without."""
    over = threading.Event()
    threading.Thread(target=_watch, args=(over, way_out), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(over: threading.Event, way_out: str) -> None:
    seen: dict[int, str] = {}
    while not over.wait(_EVERY):
        running = _servers()
        ended = [name for number, name in seen.items() if number not in running]
        seen |= running
        if ended and not over.wait(_RAYS_OWN):
            logs = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray/session_latest/logs"  # noqa: S108 - Ray's own
            log.error(
                "error: Ray's process %s has ended (killed, or %s says why); run the command again, or %s",
                ended[0], logs, way_out,
            )  # fmt: skip
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(2)  # the main thread may be where no exception reaches it


def _servers() -> dict[int, str]:
    """Return the numbers and names of Ray's servers that run; none where there is no ``/proc``."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = path.read_text().rpartition(")")
        except (OSError, UnicodeDecodeError):  # it has ended, or is no server of Ray's
            continue
        name, (state, parent) = head.partition("(")[2], rest.split()[:2]
        if name in _NAMES and int(parent) == os.getpid() and state not in "ZX":
            found[int(path.parent.name)] = name
    return found

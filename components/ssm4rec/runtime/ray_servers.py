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
from typing import Final, NamedTuple

log = logging.getLogger(__name__)

_NAMES: Final = ("gcs_server", "raylet")
_EVERY: Final = 1.0  # seconds
_RAYS_OWN: Final = 45.0
"""Seconds in which Ray may notice by itself, and raise: at its start it takes half a minute."""


@contextmanager
def watched(way_out: str) -> Iterator[None]:
    """End this process with status 2 and a line if one of Ray's servers ends; ``way_out`` says how to do without."""
    over, before = threading.Event(), {*_servers()}  # of a Ray that has ended, for which nobody has waited yet
    threading.Thread(target=_watch, args=(over, before, way_out), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _watch(over: threading.Event, before: set[int], way_out: str) -> None:
    seen: dict[int, str] = {}
    while not over.wait(_EVERY):
        servers = {number: server for number, server in _servers().items() if number not in before}
        ended = [server.name for server in servers.values() if not server.runs]
        ended += [name for number, name in seen.items() if number not in servers]
        seen |= {number: server.name for number, server in servers.items()}
        if ended and not over.wait(_RAYS_OWN):
            logs = Path(os.environ.get("RAY_TMPDIR") or "/tmp") / "ray/session_latest/logs"  # noqa: S108 - Ray's own
            log.error(
                "error: Ray's process %s has ended (killed, or %s says why); run the command again, or %s",
                ended[0], logs, way_out,
            )  # fmt: skip
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(2)  # the main thread may be where no exception reaches it


class _Server(NamedTuple):
    name: str
    runs: bool


def _servers() -> dict[int, _Server]:
    """Return Ray's servers by their numbers, also those that have ended; none where there is no ``/proc``."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            head, _, rest = path.read_text().rpartition(")")
        except (OSError, UnicodeDecodeError):  # it is gone, or is no server of Ray's
            continue
        name, (state, parent) = head.partition("(")[2], rest.split()[:2]
        if name in _NAMES and int(parent) == os.getpid():
            found[int(path.parent.name)] = _Server(name, state not in "ZX")
    return found

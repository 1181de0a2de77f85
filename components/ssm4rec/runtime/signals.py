"""How a process ends when something from outside asks it to.

- SIGINT (Ctrl-C), SIGTERM (a scheduler, ``timeout``, ``docker stop``) and SIGHUP (a closed terminal) raise
  :class:`Ended` in the main thread, after the processes that this one started have been asked to end, too.
- A second signal ends this process and those at once. What arrives within two seconds of the first is the first again:
  ``timeout``, ``make`` and systemd send one ending to a process twice.
- A process that was started with :func:`child_variables` gets SIGTERM when its parent is gone, whatever ended it. This
  needs Linux; elsewhere such a process ends when it next prints a line.
- A line that nobody can read any more (``| head``) ends the process as SIGPIPE would.
- While a program is still being imported (seconds, with torch or MLflow), a signal ends it at once, with one line:
  there is nothing to tidy up yet.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SAME_SECONDS: Final = 2.0
_PARENT: Final = "SSM4REC_PARENT"
_PR_SET_PDEATHSIG: Final = 1

_children: Final[list[Callable[[signal.Signals], None]]] = []
_first: float | None = None
_asked: int | None = None


class Ended(KeyboardInterrupt):
    """This process was asked to end, by the signal ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def end_while_imported() -> None:
    """Have a signal end ``python -m PACKAGE.PROGRAM`` at once, with one line, until the program handles signals itself.

    A package of programs calls it when it is imported. Python imports it before the program, and until then the
    program's name is ``-m`` (docs.python.org, sys.argv); in any other process nothing happens.
    """
    if sys.argv[:1] == ["-m"]:
        _handle(_end_at_once)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Turn the signals that end a process into Ended while the block runs; only the main thread can."""
    global _first, _asked
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    _first = _asked = None
    try:
        _handle(_end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending_children(end: Callable[[signal.Signals], None]) -> Iterator[None]:
    """While the block runs, call ``end`` before Ended is raised; it must neither wait nor take a lock.

    It sends a signal to this process's children: SIGTERM first, SIGKILL if a second signal ends this process.
    """
    _children.append(end)
    try:
        yield
    finally:
        _children.remove(end)


def end_process(number: signal.Signals) -> None:
    """End this process from any of its threads as the signal ``number`` would."""
    global _asked
    _asked = number
    os.kill(os.getpid(), signal.SIGTERM)


def child_variables() -> dict[str, str]:
    """Return the environment variable by which a child of this process ends with it."""
    return {_PARENT: str(os.getpid())}


def end_with_parent() -> None:
    """Have the kernel send SIGTERM when the parent ends, if the parent asked for it by ``child_variables``."""
    parent = os.environ.pop(_PARENT, "")
    if parent and sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):  # it was gone before the kernel knew
            os.kill(os.getpid(), signal.SIGTERM)


def how_it_ended(number: int) -> str:
    """Return what a program says of the signal that ended it."""
    return "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    for number in _SIGNALS:
        # Whoever started this process so that it ignores SIGHUP (nohup) or SIGINT (a shell's &) means it.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def _end_at_once(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's arguments
    program = sys.orig_argv[sys.orig_argv.index("-m") + 1]
    with suppress(OSError):
        os.write(2, f"python -m {program}: {how_it_ended(number)}\n".encode())
    os._exit(128 + number)


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a signal handler's arguments
    global _first
    now = time.monotonic()
    if _first is None:
        _first = now
        for end in _children:
            end(signal.SIGTERM)
        raise Ended(_asked or number)
    if now - _first > _SAME_SECONDS:
        for end in _children:
            end(signal.SIGKILL)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

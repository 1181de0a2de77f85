"""Calls to another machine that may be slow, away for a while or gone, and that must not hold up who makes them.

A :class:`Delivery` makes its calls one after the other in a thread of its own. While the other side answers, who makes
a call waits for it, so that nothing is measured at the same time. While it does not, calls queue up here and are made
later, in order. Waiting is bounded: for each call, and at the end.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from typing import Final

from ssm4rec.runtime.errors import one_line

logger = logging.getLogger(__name__)

CALL_SECONDS: Final = 10.0
"""How long who makes a call waits for it; nobody waits for the calls after one that took longer, until all are made."""

_ATTEMPT_SECONDS: Final = 60.0
"""After which an attempt counts as failed: importing MLflow takes long on a busy machine, and it waits 20 s for a
locked SQLite file (3.17.2, mlflow/store/db/utils.py:157)."""

_FIRST_PAUSE_SECONDS: Final = 0.5
_LONGEST_PAUSE_SECONDS: Final = 15.0
_DOUBLINGS: Final = 30
"""Of the first pause, at most: more would overflow a float after a day without an answer."""
_ATTEMPTS: Final = 3
"""After so many failures of one call in a row it is asked whether others succeed."""

_MOST_WAITING: Final = 20_000


@dataclass
class _Call:
    kind: str
    make: Callable[[], object]
    seconds: float
    done: "SimpleQueue[None]" = field(default_factory=SimpleQueue)


class Delivery:
    """Makes calls in order, each until it succeeds or is refused.

    SimpleQueue throughout: its methods are safe against the exception of a signal handler in the middle of them.

    Args:
        name: of the other side, for messages.
        refused: whether an exception means that this call will never succeed.
        works: a harmless call, to see whether a call that keeps failing is itself to blame.
    """

    def __init__(self, name: str, refused: Callable[[Exception], bool], works: Callable[[], object]) -> None:
        self._name = name
        self._refused = refused
        self._works = works
        self._waiting: SimpleQueue[_Call] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ending = threading.Event()
        self._behind = False
        self._silent = False
        self._over = False
        # The first of each pair is written by who makes calls, the second by the thread: no += of two threads meets.
        self._put_calls, self._made_calls = 0, 0
        self._put_seconds, self._made_seconds = 0.0, 0.0
        self._said: set[str] = set()

    @property
    def _unmade(self) -> int:
        return self._put_calls - self._made_calls

    def call(self, kind: str, make: Callable[[], object], seconds: float = 0.0) -> None:
        """Make a call, which messages call ``kind``, now or, if the other side does not answer, later.

        It may be made again although it succeeded, and take so many seconds above the usual, as of a large file.
        """
        if self._unmade >= _MOST_WAITING:
            self._say("a record", f"{_MOST_WAITING} are waiting already", ", the rest is recorded")
            return
        call = self._put(kind, make, seconds)
        if self._behind or self._is_made(call, CALL_SECONDS):
            return
        if self._silent or not self._is_made(call, seconds):
            self._behind = True

    def wait(self, seconds: float) -> None:
        """Wait until all calls have been made or refused, at most so many seconds."""
        self._is_made(self._put("", lambda: None, 0), seconds)

    def say_no_more(self) -> None:
        """Do not tell that the other side answers again: nobody has anything more for it."""
        self._over = True

    def end(self, kind: str, make: Callable[[], object], seconds: float) -> None:
        """Make the last call after all others, within a time; shortly before it is over, make it without the others."""
        self._ending.set()
        last = min(seconds / 4, 5.0)
        seconds -= last
        if not self._silent:  # the time that files take is for who takes them
            seconds += self._put_seconds - self._made_seconds
        if self._behind and self._unmade:
            logger.info("waiting up to %.0f s for %s to take %s", seconds, self._name, _records(self._unmade))
        if self._is_made(self._put(kind, make, 0), seconds):
            return
        self.say_no_more()
        lost = self._unmade - 1
        if lost > 0:
            logger.warning(
                "%s did not take the last %s within %.0f s, they are lost", self._name, _records(lost), seconds
            )
        error = self._attempt(_Call(kind, make, 0), last)
        if error and lost <= 0:
            self._say(kind, str(error), f" within {seconds + last:.0f} s")

    def _is_made(self, call: _Call, seconds: float) -> bool:
        with suppress(Empty):
            call.done.get(timeout=seconds)
            return True
        return False

    def _put(self, kind: str, make: Callable[[], object], seconds: float) -> _Call:
        call = _Call(kind, make, seconds)
        self._put_calls += 1
        self._put_seconds += seconds
        self._waiting.put(call)
        if self._thread is None:
            self._thread = threading.Thread(target=self._make_calls, name=self._name, daemon=True)
            self._thread.start()
        return call

    def _make_calls(self) -> None:
        while True:
            call = self._waiting.get()
            self._make(call)
            self._made_calls += 1
            self._made_seconds += call.seconds
            if not self._unmade:
                self._behind = False
            call.done.put(None)

    def _make(self, call: _Call) -> None:
        for attempt in count(1):
            error = self._attempt(call, _ATTEMPT_SECONDS)
            if error is None:
                if call.kind:  # a call without one asks nobody
                    if self._silent and not self._over:
                        logger.info("%s answers again", self._name)
                    self._silent = False
                return
            blamed = attempt % _ATTEMPTS == 0 and not self._attempt(_Call("", self._works, 0), _ATTEMPT_SECONDS)
            if blamed or self._refused(error):
                self._say(call.kind, str(error), ", the rest is recorded")
                return
            if not self._silent:
                logger.warning(
                    "%s does not answer, the work goes on and is recorded later: %s", self._name, one_line(str(error))
                )
            self._silent = self._behind = True
            pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(attempt - 1, _DOUBLINGS), _LONGEST_PAUSE_SECONDS)
            if self._ending.wait(pause):
                time.sleep(min(pause, 1.0))

    def _attempt(self, call: _Call, seconds: float) -> Exception | None:
        """Make a call once; return what it raised. One that takes too long is left to itself."""
        outcome: SimpleQueue[Exception | None] = SimpleQueue()

        def make() -> None:
            try:
                call.make()
            except Exception as error:
                outcome.put(error)
            else:
                outcome.put(None)

        threading.Thread(target=make, name=f"{self._name} {call.kind}", daemon=True).start()
        with suppress(Empty):
            return outcome.get(timeout=seconds + call.seconds)
        return TimeoutError(f"no whole answer in {seconds + call.seconds:.0f} s")

    def _say(self, kind: str, reason: str, further: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            logger.warning("%s did not take %s%s: %s", self._name, kind, further, one_line(reason))


def _records(count: int) -> str:
    return f"{count} record{'' if count == 1 else 's'}"

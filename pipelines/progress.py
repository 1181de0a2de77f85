"""What a terminal or a log shows of a running study: which stage says what, when, and how much is done.

Every line begins with the time and how many of the study's tasks are done, such as ``[12:03 6/19]``. On a terminal, a
stage that counts (``sasrec seed 0 epoch 3/30: ...``) has one line that moves; a log, and a terminal that says that it
is 0 columns wide, get each of its lines. What another task of the same stage has said word for word, such as the
figures of a baseline, is shown once; each task's log is whole.
"""

import datetime
import io
import os
import re
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import Final, TextIO

from tqdm import tqdm

from pipelines.stage_process import StageProcess
from ssm4rec.runtime.addresses import public_text
from ssm4rec.settings.command_line import end_unread

_COUNTING: Final = re.compile(r".*?\b(?:epoch|evaluation|step) (?P<done>\d+)/(?P<of>\d+)\b")
_RESUMED: Final = re.compile(r"resumed after (?:epoch|step) (?P<done>\d+)\b")


@dataclass
class _Running:
    """A stage that runs; at the time ``since``, of ``time.monotonic``, ``done`` of what it counts was done."""

    since: float
    done: int = 0
    bar: "tqdm[None] | None" = None

    def count(self, done: int, of: int) -> str:
        """Return the time left at the pace so far, as text; "" when the counting starts again here."""
        now = time.monotonic()
        if done > self.done:
            return _time_left((now - self.since) / (done - self.done) * (of - done))
        self.since, self.done = now, done
        return ""


@dataclass
class Progress:
    """Shows the lines of a study.

    ``tasks``: of the study, those that an earlier run has finished included; 0 until they are counted, and then nothing
    is numbered. ``and_more``: it will have further tasks, on which one of them decides.
    """

    tasks: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    and_more: bool = False
    _done: int = field(default=0, init=False)
    _running: dict[int, _Running] = field(default_factory=dict, init=False)
    _said: dict[tuple[str, str], int] = field(default_factory=dict, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def say(self, line: str) -> None:
        """Show a line of the study's own, above those that move."""
        with self._lock:
            try:
                tqdm.write(public_text(line), file=self.stream)
                self.stream.flush()
            except BrokenPipeError:
                end_unread(self.stream)

    def taken_over(self) -> None:
        """Count a stage that an earlier run has finished."""
        with self._lock:
            self._done += 1

    def started(self, process: StageProcess) -> None:
        """Say that a stage runs, and where its whole output is."""
        with self._lock:
            self._running[process.number] = _Running(time.monotonic())
        self._say_of_task(f"{process.label}: started, log in {process.log}")

    def line(self, process: StageProcess, text: str) -> None:
        """Show a line of a stage's; its name stands in front, if the line does not begin with what it is about."""
        with self._lock:
            running = self._running[process.number]
            if self._said.setdefault((process.stage, text), process.number) != process.number:
                return
            if resumed := _RESUMED.search(text):
                running.count(0, 0)
                running.done = int(resumed["done"])
            counted = _COUNTING.match(text)
            if counted:
                # Early in the line: what is past the terminal's width is not seen.
                left = running.count(int(counted["done"]), int(counted["of"]))
                text = f"{text[: counted.end()]}{left}{text[counted.end() :]}"
            subject = " seed ".join(process.training)
            shown = text if subject.strip() and text.startswith(subject) else f"{process.label}: {text}"
            if counted and _moves(self.stream):
                self._move(running, shown)
            else:
                self._say_of_task(shown)

    def ended(self, process: StageProcess) -> None:
        """Take a stage's moving line away, and say that it is done if it is."""
        with self._lock:
            bar = self._running.pop(process.number).bar
            if bar is not None:
                bar.close()
            if process.returncode == 0:
                self._done += 1
                self._say_of_task(f"{process.label}: done")

    def _move(self, running: _Running, text: str) -> None:
        if running.bar is None:
            running.bar = tqdm(bar_format="{desc}", leave=False, dynamic_ncols=True, file=self.stream)
        running.bar.set_description_str(public_text(f"{self._head()} {text}"))

    def _say_of_task(self, text: str) -> None:
        self.say(f"{self._head()} {text}")

    def _head(self) -> str:
        now = datetime.datetime.now().astimezone()
        more = "+" if self.and_more else ""
        done = f" {self._done}/{max(self.tasks, self._done)}{more}" if self.tasks else ""
        return f"[{now:%H:%M}{done}]"


def _moves(stream: TextIO) -> bool:
    """Tell whether a line can move: on a terminal that has a width (some pseudo-terminals have none)."""
    try:
        return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
    except io.UnsupportedOperation:
        return True


def _time_left(seconds: float) -> str:
    """Return how long something still takes, for after a count; "" if it takes no time any more.

    >>> _time_left(40.0), _time_left(1200.0), _time_left(9000.0), _time_left(0.2)
    (', 40 s left', ', 20 min left', ', 2.5 h left', '')
    """
    if seconds < 1:
        return ""
    if seconds < 90:
        return f", {seconds:.0f} s left"
    return f", {seconds / 60:.0f} min left" if seconds < 5400 else f", {seconds / 3600:.1f} h left"

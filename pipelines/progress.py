"""What a terminal or a log shows of a running study: which stage says what, when, and how much is done.

Every line begins with the time and how many of the study's tasks are done, such as ``[12:03 6/19]``. On a terminal, a
stage that counts (``sasrec seed 0 epoch 3/30: ...``) has one line that moves; a log gets each of its lines.
"""

import datetime
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

_COUNTING: Final = re.compile(r"(?P<what>.*?\b(?P<unit>epoch|evaluation|step) )(?P<done>\d+)/(?P<of>\d+)\b(?P<rest>.*)")


@dataclass
class _Running:
    began: float
    bar: "tqdm[None] | None" = None


@dataclass
class Progress:
    """Shows the lines of a study.

    ``tasks``: of the study; 0 until they are counted, and then nothing is numbered. ``and_more``: it will have further
    tasks, on which one of them decides.
    """

    tasks: int = 0
    stream: TextIO = field(default_factory=lambda: sys.stdout)
    and_more: bool = False
    _done: int = field(default=0, init=False)
    _running: dict[int, _Running] = field(default_factory=dict, init=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False)

    def say(self, line: str) -> None:
        """Show a line of the study's own, above those that move."""
        with self._lock:
            try:
                tqdm.write(public_text(line), file=self.stream)
                self.stream.flush()
            except BrokenPipeError:
                end_unread(self.stream)

    def started(self, process: StageProcess) -> None:
        """Say that a stage runs, and where its whole output is."""
        with self._lock:
            self._running[process.number] = _Running(time.monotonic())
        self._say_of_task(f"{process.label}: started, log in {process.log}")

    def line(self, process: StageProcess, text: str) -> None:
        """Show a line of a stage's; its name stands in front, if the line does not begin with what it is about."""
        with self._lock:
            running = self._running[process.number]
            counted = _COUNTING.match(text)
            if counted:
                text += _time_left(time.monotonic() - running.began, int(counted["done"]), int(counted["of"]))
            subject = " seed ".join(process.training)
            shown = text if subject.strip() and text.startswith(subject) else f"{process.label}: {text}"
            if counted and self.stream.isatty():
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


def _time_left(seconds: float, done: int, of: int) -> str:
    """Return how long a stage that has counted so far will take if it goes on so, "" where that says little.

    >>> _time_left(60.0, 1, 3), _time_left(1.0, 1, 2)
    (', 2 min left', '')
    """
    left = seconds * (of - done) / done if done else 0.0
    return f", {left / 60:.0f} min left" if left >= 60 else ""

"""Rows that cannot be read: refused with one line that names the first, or dropped and counted by reason.

A row is bad if it has no readable user id, item id or time, or a rating that is not a number; in CSV also if it has
another number of values than the header or a stray quote, in JSONL if it is not one JSON object. A missing rating is
not bad.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.runtime.errors import InputError

REFUSE: Final = "refuse"
DROP: Final = "drop"
BAD_ROWS: Final = (REFUSE, DROP)
DROP_INSTEAD: Final = ", or set --bad-rows drop"
"""The end of messages of rows that could be dropped; where there is no such flag, it is cut off."""

MALFORMED: Final = "malformed row"
NEGATIVE_TIME: Final = "time before 1970"

Mask = numpy.ndarray[tuple[int], numpy.dtype[numpy.bool_]]


@dataclass(frozen=True)
class Problem:
    """What is wrong with some rows of a batch.

    Attributes:
        reason: the kind, as it is counted: "user id missing".
        rows: which rows have it; shape (rows of the batch,).
        describe: says it of one of them, given its index in the batch; file, column and row are put before it.
    """

    column: str
    reason: str
    rows: Mask
    describe: Callable[[int], str]


class BadRows:
    """Decides what becomes of bad rows, and counts those dropped.

    Attributes:
        drops_all: whether rows are dropped for every reason.
        dropped: how many were, by reason; a row counts once, with the first thing that is wrong with it.
    """

    def __init__(self, mode: str = REFUSE, always_drop: Iterable[str] = ()) -> None:
        self.mode = mode
        self.drops_all = mode == DROP
        self._always = frozenset(always_drop)
        self.dropped: Counter[str] = Counter()
        self._counting = threading.Lock()  # Arrow reads and parses in several threads

    def __reduce__(self) -> tuple[type["BadRows"], tuple[str, list[str]]]:
        """Another process has the same rule, and counts by itself."""
        return BadRows, (self.mode, sorted(self._always))

    def malformed(self, message: str) -> None:
        """Count a row that has no columns to speak of, or raise InputError with ``message``."""
        if not self.drops_all:
            raise InputError(f"{message}{DROP_INSTEAD}")
        with self._counting:
            self.dropped[MALFORMED] += 1

    def good(self, problems: Iterable[Problem], rows: int, file: str, first_row: int | None) -> Mask | None:
        """Return which of a batch's rows stay, or None if all do.

        ``first_row`` is the number of the batch's first row in its file, None where that is not known. Raise InputError
        if a row is bad and is not to be dropped.
        """
        good = numpy.ones(rows, dtype=bool)
        for problem in problems:
            bad = good & problem.rows
            if not bad.any():
                continue
            if not (self.drops_all or problem.reason in self._always):
                index = int(numpy.flatnonzero(problem.rows)[0])
                row = "" if first_row is None else f", row {first_row + index}"
                raise InputError(f"{file}, column {problem.column}{row}: {problem.describe(index)}{DROP_INSTEAD}")
            self.dropped[problem.reason] += int(bad.sum())
            good &= ~bad
        return None if good.all() else good


def count_words(dropped: Mapping[str, int]) -> str:
    """Say how many rows were dropped and why.

    >>> count_words({"time missing": 2, "malformed row": 1})
    '2 time missing, 1 malformed row'
    """
    return ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())

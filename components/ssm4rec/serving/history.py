"""What is remembered of a user's events: the items that a model reads, and the others that the user had before.

An event has a sequence number, 1, 2, ... per user, given by the platform. It counts once, and only after all before it:
delivered again it changes nothing, and one that comes too early is left out until those before it have come.

Nothing depends on when a user was asked for, on restarts or on the version of the model, but on the events alone: with
M, the longest history that the model was made for, the last n events are kept, n being all up to 2 M - 1 of them, and
M + (count mod M) of more. Every M events the M oldest of them leave, and of those only which items they were is kept.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple


class Event(NamedTuple):
    """A user had an item."""

    sequence: int
    """1, 2, ... per user."""
    item: str
    """The data set's id of the item, or what the platform calls one that the model does not know."""


@dataclass(frozen=True)
class History:
    """A user's events so far.

    Attributes:
        sequence: of the last event that counts; 0: there is none.
        recent: items of the last events, oldest first.
        earlier: items of the events before them, each once; of those that were known when their event left ``recent``.
    """

    sequence: int = 0
    recent: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()

    def after(self, events: Sequence[Event], *, skip_missing: bool) -> "tuple[History, int | None]":
        """Return the history after those events that count, and the number of the first one missing, None if none is.

        ``recent`` has their items, however many: see :meth:`fitted`.

        Args:
            events: in any order; those that are in the history already change nothing.
            skip_missing: go on with the next event that there is, as if those before it had never been.
        """
        sequence = self.sequence
        items: list[str] = []
        for event in sorted(events):
            if event.sequence <= sequence:
                continue
            if event.sequence > sequence + 1 and not skip_missing:
                return replace(self, sequence=sequence, recent=(*self.recent, *items)), sequence + 1
            sequence = event.sequence
            items.append(event.item)
        return (replace(self, sequence=sequence, recent=(*self.recent, *items)) if items else self), None

    def fitted(self, length: int, is_known: Callable[[str], bool]) -> "History":
        """Return the history as it is kept for a model that was made for ``length`` items, M: itself, if it is so."""
        leaving = max(0, len(self.recent) // length - 1) * length
        if not leaving:
            return self
        left = (item for item in self.recent[:leaving] if is_known(item))
        return replace(self, recent=self.recent[leaving:], earlier=tuple(dict.fromkeys((*self.earlier, *left))))

    def to_json(self) -> bytes:
        """Return it as UTF-8; :func:`history_from_json` reads it."""
        document = [self.sequence, self.recent, self.earlier]
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def history_from_json(document: bytes) -> History:
    """Return what :meth:`History.to_json` wrote; raise ValueError if it is something else."""
    match json.loads(document):
        case [int(sequence), list(recent), list(earlier)] if all(isinstance(item, str) for item in recent + earlier):
            return History(sequence, tuple(recent), tuple(earlier))
    raise ValueError("not a history")

"""Users whose history and state are stored: new events are counted, and the state goes on from where it was.

Shapes: D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy
import torch

from ssm4rec.artifacts.dataset import Int32s
from ssm4rec.models.serving import RecurrentRecommender
from ssm4rec.registry.entries import shown
from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.serving.history import Event, History
from ssm4rec.serving.reading import owner_of, read_histories, read_more
from ssm4rec.serving.records import DamagedRecordError, Record, State, record_from_bytes
from ssm4rec.serving.requests import Asked
from ssm4rec.serving.store import Change, DamagedUserError, StateStore, Stored, UserStoreError

_ATTEMPTS: Final = 50
"""How often a user's record is read again because another process wrote it: each time that one got on."""


@dataclass
class Turn:
    """What one request does to one user.

    Attributes:
        before: what was stored.
        history: after the events that count.
        missing: number of the first event that others of the request wait for; None: none is.
        window: known items of the history's ``recent``.
        state: after ``window``; empty as long as the model has not read it, or there is nothing to read.
        resumed: whether the stored state went on; else the model has read ``window`` again.
    """

    before: Record
    history: History
    missing: int | None
    window: Int32s
    state: State = ()
    resumed: bool = False

    @property
    def counts(self) -> bool:
        """Whether an event of the request counts."""
        return self.history.sequence != self.before.history.sequence

    @property
    def fresh(self) -> int:
        """How many of the last events are not in the state before; -1: it is not of the beginning of ``history``."""
        read = len(self.before.history.recent)
        return len(self.history.recent) - read if self.history.recent[:read] == self.before.history.recent else -1


class Users:
    """The users in a store, as one model sees them."""

    def __init__(self, recommender: CatalogRecommender, store: StateStore) -> None:
        self._model = recommender.model
        self._catalog = recommender.catalog
        self._store = store
        self.owner = owner_of(recommender)

    @cached_property
    def _own_form(self) -> list[tuple[torch.Size, torch.dtype]]:
        """What a state of this model is made of; found out when the first one is read."""
        return _form(read_histories(self._model, [numpy.array([1], dtype=numpy.int32)])[0])

    def add(self, asked: Sequence[Asked]) -> list[Turn]:
        """Count the events of requests, of a user each, and return what became of it, once it is stored.

        Raise StoreError if the store fails; nothing that is not stored was counted then.
        """
        if not asked:  # histories do not wait for the store
            return []
        done: dict[str, Turn] = {}
        waiting = {row.user: row for row in asked}
        for _ in range(_ATTEMPTS):
            turns = self._turns(waiting)
            refused = self._store.write(self._changes(turns))
            done |= {user: turn for user, turn in turns.items() if user not in refused}
            waiting = {user: row for user, row in waiting.items() if user in refused}
            if not waiting:
                return [done[row.user] for row in asked]
        raise UserStoreError(
            f"user {shown(next(iter(waiting)))}: others write this user's events all the time; send again"
        )

    def forget(self, user: str) -> None:
        """Remove all that is kept of a user; raise StoreError if the store fails."""
        self._store.forget([user])

    def numbers(self, names: Sequence[str]) -> Int32s:
        """Return the known ones of items."""
        found = [item for name in names if (item := self._catalog.find(name))]
        return numpy.array(found, dtype=numpy.int32)

    def _turns(self, waiting: dict[str, Asked]) -> dict[str, Turn]:
        stored = self._store.read([*waiting])
        turns = {user: self._turn(row, stored.get(user)) for user, row in waiting.items()}
        self._read([*turns.values()])
        return turns

    def _turn(self, row: Asked, stored: Stored | None) -> Turn:
        try:
            before = Record(History(), "", ()) if stored is None else record_from_bytes(stored.record)
        except DamagedRecordError as error:
            raise DamagedUserError(row.user, str(error)) from None
        if stored is not None and stored.sequence != before.history.sequence:
            raise DamagedUserError(row.user, "it has two sequence numbers")
        if before.owner == self.owner and before.state:
            if _form(before.state) != self._own_form:
                raise DamagedUserError(row.user, "its state has another form")
            if not all(bool(tensor.isfinite().all()) for tensor in before.state):
                raise DamagedUserError(row.user, "its state has numbers that are not finite")
        events = [Event(event.sequence, self._own_name(event.item)) for event in row.events]
        after, missing = before.history.after(events, skip_missing=row.skip_missing)
        history = after.fitted(self._model.max_length, lambda name: self._catalog.find(name) > 0)
        return Turn(before, history, missing, self.numbers(history.recent))

    def _own_name(self, name: str) -> str:
        item = self._catalog.find(name)
        return self._catalog.item_ids[item - 1] if item else name

    @torch.no_grad()
    def _read(self, turns: Sequence[Turn]) -> None:
        """Let the model read what is new to it: together what follows a state, and together what follows none."""
        steps, whole = [], []
        for turn in turns:
            usable = isinstance(self._model, RecurrentRecommender) and turn.before.owner == self.owner
            if usable and turn.before.state and turn.fresh >= 0:
                more = self.numbers(turn.history.recent[len(turn.history.recent) - turn.fresh :])
                turn.state, turn.resumed = turn.before.state, True
                if len(more):
                    steps.append((turn, more))
            elif len(turn.window):
                whole.append(turn)
        if steps and isinstance(self._model, RecurrentRecommender):
            states = read_more(self._model, [turn.state for turn, _ in steps], [more for _, more in steps])
            for (turn, _), state in zip(steps, states, strict=True):
                turn.state = state
        for turn, state in zip(whole, read_histories(self._model, [turn.window for turn in whole]), strict=True):
            turn.state = state

    def _changes(self, turns: dict[str, Turn]) -> dict[str, Change]:
        """Return the records to write: those with events that count, and those whose state was computed again."""
        recurrent = isinstance(self._model, RecurrentRecommender)
        changes = {}
        for user, turn in turns.items():
            state = turn.state if recurrent else ()
            rebuilt = bool(state) and turn.before.owner != self.owner
            if turn.counts or rebuilt:
                record = Record(turn.history, self.owner, state).to_bytes()
                changes[user] = Change(turn.before.history.sequence, Stored(turn.history.sequence, record))
        return changes


def _form(state: State) -> list[tuple[torch.Size, torch.dtype]]:
    return [(tensor.shape, tensor.dtype) for tensor in state]

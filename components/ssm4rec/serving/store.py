"""Where users' histories and states are kept between requests: behind one small interface, here in the process.

A record is bytes (``records.py``) and a sequence number. A record is written only where its user's has the number that
it had when it was read: of two engines that add to one user's history at the same time, one is told to read again.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from ssm4rec.registry.entries import shown
from ssm4rec.runtime.errors import InputError


class StoreError(InputError):
    """The store cannot be read or written now; what was acknowledged is in it."""


class UserStoreError(StoreError):
    """What is kept of one user cannot be read or written now; the others are not affected."""


class DamagedUserError(UserStoreError):
    """What is kept of a user cannot be read, and never will be."""

    def __init__(self, user: str, why: str) -> None:
        super().__init__(
            f"user {shown(user)}: a damaged record ({why}); forget the user (DELETE), and send the last events again "
            "with skip_missing"
        )


class Stored(NamedTuple):
    """What is kept of a user."""

    sequence: int
    """Of the last event that counts."""
    record: bytes


class Change(NamedTuple):
    """A record to be written."""

    before: int
    """The sequence number of the record in whose place it is; 0: there is none."""
    after: Stored


class StateStore(Protocol):
    """Keeps a record per user; several threads may use it."""

    def read(self, users: Sequence[str]) -> dict[str, Stored]:
        """Return the records of those users who have one."""

    def write(self, changes: Mapping[str, Change]) -> set[str]:
        """Write records in one transaction; return the users whose record is another by now, and left as it is.

        What is written when this returns stays, as far as the store outlives the process.
        """

    def forget(self, users: Sequence[str]) -> None:
        """Remove all that is kept of users; who has nothing here is passed over."""

    def close(self) -> None:
        """Give back what it holds of files and connections; it is not used afterwards."""


_OVERHEAD: Final = 400
"""Bytes that a record takes in this process besides its content: the dictionary's entry, objects and the name."""


class MemoryStore:
    """Records in this process, for one replica: gone when it ends, and the least recently used leave when it is full.

    A user whose record has left is unknown: the platform is told that events from 1 on are missing, and sends the
    user's last ones with ``skip_missing``.
    """

    def __init__(self, most_bytes: int = 2**30) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._records: OrderedDict[str, Stored] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._records)

    def read(self, users: Sequence[str]) -> dict[str, Stored]:
        """Return the records of those users who have one, who are then the most recently used."""
        with self._lock:
            found = {user: self._records[user] for user in users if user in self._records}
            for user in found:
                self._records.move_to_end(user)
            return found

    def write(self, changes: Mapping[str, Change]) -> set[str]:
        """Write records; return the users whose record is another by now."""
        refused = set()
        with self._lock:
            for user, change in changes.items():
                stored = self._records.get(user)
                if change.before != (stored.sequence if stored else 0):
                    refused.add(user)
                    continue
                self._remove(user)
                self._records[user] = change.after
                self.bytes += _size(user, change.after)
            while self.bytes > self.most_bytes:
                self._remove(next(iter(self._records)))
        return refused

    def forget(self, users: Sequence[str]) -> None:
        """Remove all that is kept of users."""
        with self._lock:
            for user in users:
                self._remove(user)

    def close(self) -> None:
        """Forget all users."""
        with self._lock:
            self._records.clear()
            self.bytes = 0

    def _remove(self, user: str) -> None:
        stored = self._records.pop(user, None)
        if stored is not None:
            self.bytes -= _size(user, stored)


def _size(user: str, stored: Stored) -> int:
    return _OVERHEAD + 4 * len(user) + len(stored.record)

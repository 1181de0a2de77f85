"""Users' histories and states in one SQLite file on a volume, which several processes of one machine share.

The file is in WAL mode, whose shared memory does not work over a network: replicas on several nodes need another store.
A process may be killed at any moment: a transaction is in the file or it is not. With ``synchronous=NORMAL`` the last
transactions before a loss of power may be missing afterwards; the sequence numbers show it, the platform is told from
which event on to send again, and no request waits for the disk.
"""

import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ssm4rec.runtime.errors import reason
from ssm4rec.serving.records import LAYOUT
from ssm4rec.serving.store import Change, Stored, StoreError, UserStoreError

_TABLE: Final = """CREATE TABLE IF NOT EXISTS users
    (user TEXT PRIMARY KEY, sequence INTEGER NOT NULL, record BLOB NOT NULL)"""
_WAIT: Final = 10.0
"""Seconds to wait for another process that writes."""
_PAUSE: Final = 0.01  # seconds
_PRIMARY: Final = 0xFF
"""The bits of an extended error code that say what kind it is of."""
_VARIABLES: Final = 500
"""Users of one SELECT: SQLite takes at most 999 values in old versions."""


class SQLiteStore:
    """Records in an SQLite file, which is made if there is none; see :class:`ssm4rec.serving.store.StateStore`.

    Raises:
        StoreError: the file is of something else, damaged, cannot be written, or others write for 10 seconds.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()  # one connection, used by one thread at a time
        with self._errors():
            self._database = sqlite3.connect(path, timeout=_WAIT, isolation_level=None, check_same_thread=False)
        try:
            with self._errors():
                self._prepare()
        except StoreError:
            self._database.close()
            raise

    def read(self, users: Sequence[str]) -> dict[str, Stored]:
        """Return the records of those users who have one."""
        found = {}
        with self._lock, self._errors():
            for start in range(0, len(users), _VARIABLES):
                part = users[start : start + _VARIABLES]
                marks = ",".join("?" * len(part))
                query = f"SELECT user, sequence, record FROM users WHERE user IN ({marks})"  # noqa: S608 - only marks
                found.update({user: Stored(*rest) for user, *rest in self._database.execute(query, part)})
        return found

    def write(self, changes: Mapping[str, Change]) -> set[str]:
        """Write records in one transaction; return the users whose record is another by now."""
        if not changes:
            return set()
        with self._lock, self._errors(), self._transaction():
            return {user for user, change in changes.items() if not self._write(user, change)}

    def forget(self, users: Sequence[str]) -> None:
        """Remove all that is kept of users."""
        with self._lock, self._errors(), self._transaction():
            self._database.executemany("DELETE FROM users WHERE user = ?", [(user,) for user in users])

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def _prepare(self) -> None:
        self._enter_wal()
        self._database.execute("PRAGMA synchronous=NORMAL")
        with self._transaction():
            ((layout,),) = self._database.execute("PRAGMA user_version")
            tables = [name for (name,) in self._database.execute("SELECT name FROM sqlite_master")]
            if layout != LAYOUT and (layout or tables):
                raise StoreError(f"{self.path}: not a state store of this version; name another file")
            self._database.execute(_TABLE)
            self._database.execute(f"PRAGMA user_version={LAYOUT}")

    def _enter_wal(self) -> None:
        """Set the file's mode. SQLite does not wait where two do so with a new file: it refuses one of them at once."""
        until = time.monotonic() + _WAIT
        while True:
            try:
                self._database.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def _write(self, user: str, change: Change) -> bool:
        """Return whether the user's record was as expected, and is written."""
        if change.before:
            query = "UPDATE users SET sequence = ?, record = ? WHERE user = ? AND sequence = ?"
            return self._database.execute(query, (*change.after, user, change.before)).rowcount == 1
        query = "INSERT INTO users (sequence, record, user) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
        return self._database.execute(query, (*change.after, user)).rowcount == 1

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")  # so that none finds, half-way, that another began to write
        try:
            yield
            self._database.execute("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # a full disk, say, has ended it already
                self._database.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY  # none of errors of the module itself
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                kind = UserStoreError if code == sqlite3.SQLITE_CORRUPT else StoreError  # other pages may be sound
                raise kind(
                    f"{self.path}: the state store is damaged ({reason(error)}); stop its servers and recover it "
                    "(sqlite3 FILE .recover), or move it away: the platform is told which events to send again"
                ) from None
            raise StoreError(
                f"{self.path}: the state store cannot be used ({reason(error)}); its folder must exist, be writable "
                "and have room"
            ) from None

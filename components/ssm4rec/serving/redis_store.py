"""Users' histories and states in Redis, which replicas of a server on several nodes share.

A user is a hash of two fields, ``sequence`` and ``record``. What is compared and written happens in one script, which
Redis runs as a whole or not at all. How long a record is safe is for Redis to say: with ``appendonly yes`` the last
second's may be missing after a crash, and after a failover to a replica what it had not received; the sequence numbers
show it, and the platform is told from which event on to send again. One server, or a primary with replicas: a Redis
Cluster would have to keep all users of a request on one node.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

import redis

from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.serving.records import LAYOUT
from ssm4rec.serving.store import Change, DamagedUserError, Stored, StoreError

SCHEMES: Final = ("redis://", "rediss://", "unix://")
_WAIT: Final = 5.0
"""Seconds to wait for a connection, and for an answer."""
_WRITE: Final = """
local refused = {}
for place, key in ipairs(KEYS) do
    local before, sequence, record = ARGV[3 * place - 2], ARGV[3 * place - 1], ARGV[3 * place]
    if (redis.call('HGET', key, 'sequence') or '0') == before then
        redis.call('HSET', key, 'sequence', sequence, 'record', record)
    else
        refused[#refused + 1] = place
    end
end
return refused
"""
"""Redis refuses it for want of memory before its first write, or not at all (``src/script.c`` of 7.0: a script that has
written is let go on), so that no request is half counted."""


class RedisStore:
    """Records in Redis; see :class:`ssm4rec.serving.store.StateStore`.

    Args:
        address: ``redis://[user:password@]host:port/database``, with TLS ``rediss://``, or ``unix://`` a socket.
        password: where the address has none: command lines are seen by others.
        prefix: of its keys: stores with other ones share nothing.

    Raises:
        InputError: this is no such address.
        StoreError: nobody answers there, the password is wrong, or a store of another version has the prefix.
    """

    def __init__(self, address: str, password: str | None = None, prefix: str = "ssm4rec") -> None:
        self._shown = public_text(address)
        self._prefix = prefix
        # protocol 2: its refusals of a password are sentences.
        how: dict[str, Any] = {"protocol": 2, "socket_timeout": _WAIT, "socket_connect_timeout": _WAIT}
        try:
            if not address.startswith("unix:") and not re.fullmatch(r"/?\d*", urlsplit(address).path):
                raise ValueError("after the slash comes the number of a database")
            self._client = redis.Redis.from_url(address, password=password, **how)
            self._write = self._client.register_script(_WRITE)
            with self._errors():
                self._client.set(f"{prefix}:layout", LAYOUT, nx=True)
                layout = self._client.get(f"{prefix}:layout")
        except (TypeError, ValueError) as error:  # TypeError: an option that it does not have
            raise InputError(
                f"{self._shown}: not an address of Redis ({reason(error)}); write redis://host:6379/0"
            ) from None
        if layout != str(LAYOUT).encode():
            self.close()
            raise StoreError(f"{self._shown}: not a state store of this version; take another database or prefix")

    def read(self, users: Sequence[str]) -> dict[str, Stored]:
        """Return the records of those users who have one."""
        with self._errors(), self._client.pipeline(transaction=False) as asked:
            for user in users:
                asked.hmget(self._key(user), "sequence", "record")
            found: list[Any] = asked.execute(raise_on_error=False)
            for user, answer in zip(users, found, strict=True):
                if isinstance(answer, redis.ResponseError) and str(answer).startswith("WRONGTYPE"):
                    raise DamagedUserError(user, "its key in Redis is of another type")
                if isinstance(answer, Exception):
                    raise answer
        stored = {}
        for user, (sequence, record) in zip(users, found, strict=True):
            if sequence is not None:
                if not sequence.isdigit() or record is None:  # somebody else wrote it
                    raise DamagedUserError(user, "it has no sequence number or no record")
                stored[user] = Stored(int(sequence), record)
        return stored

    def write(self, changes: Mapping[str, Change]) -> set[str]:
        """Write records in one script; return the users whose record is another by now."""
        if not changes:
            return set()
        users = [*changes]
        values = [value for before, after in changes.values() for value in (before, *after)]
        with self._errors():
            refused: Any = self._write(keys=[self._key(user) for user in users], args=values)
        return {users[place - 1] for place in refused}

    def forget(self, users: Sequence[str]) -> None:
        """Remove all that is kept of users."""
        if users:
            with self._errors():
                self._client.delete(*map(self._key, users))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _key(self, user: str) -> str:
        return f"{self._prefix}:user:{user}"

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except redis.RedisError as error:
            # After a lost connection nobody knows whether it was written; an event that was is not counted again.
            raise StoreError(f"{self._shown}: the state store cannot be used ({reason(error)})") from None

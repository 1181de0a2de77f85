"""Small requests that wait at the same time are answered together.

A step of the model costs hardly more for several users than for one, and so does a transaction of the store. So while
a batch is being answered, what comes waits and makes the next batch. Nothing waits for others to come, and large
requests have threads of their own.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ssm4rec.serving.engine import Answer, Engine
from ssm4rec.serving.requests import Asked
from ssm4rec.serving.store import StoreError, UserStoreError

_MOST: Final = 32
"""The most of a batch of several requests, and of a small request, by :func:`_size`: more take longer together, too."""
_ITEMS: Final = 250
"""Of a history, or events of a user: read in about the time of a row."""
_K: Final = 100
"""Recommendations: made in about the time of a row."""

Found = list[Answer] | Exception
"""What became of a request: an answer to each row, or why there is none."""


class Batcher:
    """Answers requests of an event loop by an engine.

    Small requests have one thread, which is faster than two are, and those of users another, so that histories do not
    wait for the store.

    Args:
        engine: answers.
        threads: large requests that are answered at a time.
    """

    def __init__(self, engine: Engine, threads: int) -> None:
        self._histories, self._users, self._large = _Line(engine, 1), _Line(engine, 1), _Line(engine, threads)

    async def answer(self, rows: Any) -> list[Answer]:
        """Return what the engine answers to a request's rows, and raise what it raises."""
        if _size(rows) > _MOST:
            return await self._large.answer(rows)
        of_users = isinstance(rows, list) and any(isinstance(row, dict) and "user_id" in row for row in rows)
        return await (self._users if of_users else self._histories).answer(rows)


class _Line:
    """Requests that wait for one of so many threads; each takes a batch of them."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine = engine
        self._idle = threads
        self._threads = ThreadPoolExecutor(threads)
        self._waiting: deque[tuple[Any, asyncio.Future[list[Answer]]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, rows: Any) -> list[Answer]:
        """Return the answer when it is this request's turn."""
        future: asyncio.Future[list[Answer]] = asyncio.get_running_loop().create_future()
        self._waiting.append((rows, future))
        if self._idle:
            self._idle -= 1
            task = asyncio.create_task(self._work())
            self._tasks.add(task)  # the loop alone would not keep it
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._next():
                try:
                    asked = [rows for rows, _ in batch]
                    found = await loop.run_in_executor(self._threads, answer_together, self._engine, asked)
                except Exception as error:
                    found = [error] * len(batch)
                for (_, future), one in zip(batch, found, strict=True):
                    if future.done():  # whoever asked has gone
                        continue
                    if isinstance(one, Exception):
                        future.set_exception(one)
                    else:
                        future.set_result(one)
        finally:
            self._idle += 1

    def _next(self) -> list[tuple[Any, asyncio.Future[list[Answer]]]]:
        """Take the requests of the next batch, the one that waits longest first; none if none waits."""
        batch: list[tuple[Any, asyncio.Future[list[Answer]]]] = []
        left = _MOST
        while self._waiting:
            rows, _ = self._waiting[0]
            left -= _size(rows)
            if batch and left < 0:
                break
            batch.append(self._waiting.popleft())
        return batch


def _size(rows: Any) -> int:
    """Return about how many rows of a few items take as long as the rows of a request, which was not read yet."""
    if not isinstance(rows, list):
        return 1  # it is refused
    if len(rows) > _MOST:
        return len(rows)
    return len(rows) + sum(_more(row) for row in rows if isinstance(row, dict))


def _more(row: dict[Any, Any]) -> int:
    lists, k = (row.get("history"), row.get("events")), row.get("k")
    items = sum(len(one) for one in lists if isinstance(one, list))
    return items // _ITEMS + (k // _K if isinstance(k, int) else 0)


def answer_together(engine: Engine, requests: Sequence[Any]) -> list[Found]:
    """Return what became of requests, each the rows of one, as JSON was read; none fails for another's sake.

    A user's events count in the order of the requests. Where the store cannot be used, all requests that were to be
    answered with or after the first one are told so: none waits for it again.
    """
    found: dict[int, Found] = {}
    asked: dict[int, list[Asked]] = {}
    for number, rows in enumerate(requests):
        try:
            asked[number] = engine.read(rows)
        except Exception as error:
            found[number] = error
    turns = [{number: asked[number] for number in turn} for turn in _turns(asked)]
    found |= _answer_in_order(engine, turns)
    return [found[number] for number in range(len(requests))]


def _turns(requests: Mapping[int, Sequence[Asked]]) -> list[list[int]]:
    """Return which requests are answered together, one turn after another: a user is in a turn once."""
    turns: list[list[int]] = []
    next_of: dict[str, int] = {}  # of a user, the first turn that is free for it
    for number, rows in requests.items():
        users = [row.user for row in rows if row.user]
        turn = max((next_of.get(user, 0) for user in users), default=0)
        next_of |= dict.fromkeys(users, turn + 1)
        if turn == len(turns):
            turns.append([])
        turns[turn].append(number)
    return turns


def _answer_in_order(engine: Engine, turns: Sequence[Mapping[int, list[Asked]]]) -> dict[int, Found]:
    found: dict[int, Found] = {}
    lost: Found | None = None
    for turn in turns:
        found |= dict.fromkeys(turn, lost) if lost else _answer_turn(engine, turn)
        lost = lost or next((found[number] for number in turn if _is_lost(found[number])), None)
    return found


def _answer_turn(engine: Engine, turn: Mapping[int, list[Asked]]) -> dict[int, Found]:
    try:
        return dict(zip(turn, engine.answer_all([*turn.values()]), strict=True))
    except Exception as error:
        if len(turn) == 1 or _is_lost(error):
            return dict.fromkeys(turn, error)
    # One of them fails. Each alone: events that were counted by now do not count again.
    return _answer_in_order(engine, [{number: rows} for number, rows in turn.items()])


def _is_lost(found: Found) -> bool:
    """Return whether the store as a whole cannot be used."""
    return isinstance(found, StoreError) and not isinstance(found, UserStoreError)

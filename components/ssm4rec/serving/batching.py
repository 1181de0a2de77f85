"""Small requests that wait at the same time are answered together.

A step of the model costs hardly more for several users than for one, and so does a transaction of the store. So while
a batch is being answered, what comes waits and makes the next batch. Nothing waits for others to come, and large
requests have threads of their own.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ssm4rec.serving.engine import Answer, Engine
from ssm4rec.serving.requests import Asked, RefusedRequestError
from ssm4rec.serving.store import DamagedUserError, StoreError

_ROWS: Final = 32
"""The most of a batch of several requests, and of a small request: more take longer together, too."""

Found = list[Answer] | Exception
"""What became of a request: an answer to each row, or why there is none."""


class Batcher:
    """Answers requests of an event loop by an engine: small ones by one thread, which is faster than two are.

    Args:
        engine: answers.
        threads: large requests that are answered at a time.
    """

    def __init__(self, engine: Engine, threads: int) -> None:
        self._small, self._large = _Line(engine, 1), _Line(engine, threads)

    async def answer(self, rows: Any) -> list[Answer]:
        """Return what the engine answers to a request's rows, and raise what it raises."""
        return await (self._large if _size(rows) > _ROWS else self._small).answer(rows)


class _Line:
    """Requests that wait for one of so many threads; each takes a batch of them."""

    def __init__(self, engine: Engine, threads: int) -> None:
        self._engine = engine
        self._idle = threads
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
        try:
            while batch := self._next():
                found = await asyncio.to_thread(answer_together, self._engine, [rows for rows, _ in batch])
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
        left = _ROWS
        while self._waiting:
            rows, _ = self._waiting[0]
            left -= _size(rows)
            if batch and left < 0:
                break
            batch.append(self._waiting.popleft())
        return batch


def _size(rows: Any) -> int:
    return len(rows) if isinstance(rows, list) else 1  # anything else is refused


def answer_together(engine: Engine, requests: Sequence[Any]) -> list[Found]:
    """Return what became of requests, each the rows of one, as JSON was read; none fails for another's sake.

    A user's events count in the order of the requests.
    """
    found: dict[int, Found] = {}
    asked: dict[int, list[Asked]] = {}
    for number, rows in enumerate(requests):
        try:
            asked[number] = engine.read(rows)
        except RefusedRequestError as error:
            found[number] = error
    for turn in _turns(asked):
        found |= _answer_turn(engine, {number: asked[number] for number in turn})
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


def _answer_turn(engine: Engine, requests: Mapping[int, list[Asked]]) -> dict[int, Found]:
    try:
        return dict(zip(requests, engine.answer_all([*requests.values()]), strict=True))
    except Exception as error:
        if len(requests) == 1:
            return dict.fromkeys(requests, error)
    return _answer_each(engine, requests)


def _answer_each(engine: Engine, requests: Mapping[int, list[Asked]]) -> dict[int, Found]:
    """Answer requests one by one, as one of them failed: events that were counted then do not count again."""
    found: dict[int, Found] = {}
    lost: StoreError | None = None
    for number, rows in requests.items():
        if lost and any(row.user for row in rows):  # a store that is gone is waited for once
            found[number] = lost
            continue
        found |= _answer_turn(engine, {number: rows})
        failed = found[number]
        if isinstance(failed, StoreError) and not isinstance(failed, DamagedUserError):
            lost = failed
    return found

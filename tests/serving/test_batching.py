"""Requests that wait are answered together: as each alone, in order, none at another's cost."""

import asyncio
import random
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.serving.batching import Batcher, answer_together
from ssm4rec.serving.engine import Answer, Engine
from ssm4rec.serving.requests import Asked, RefusedRequestError
from ssm4rec.serving.store import Change, DamagedUserError, MemoryStore, Stored, StoreError, UserStoreError
from tests.serving.serving_models import make_recommender


@pytest.fixture(scope="module")
def recommender() -> CatalogRecommender:
    return make_recommender("2mamba4rec")


class Counting(Engine):
    """Notes how many requests each batch has, and waits before one if told to."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.batches: list[int] = []
        self.started, self.go = threading.Event(), threading.Event()
        self.go.set()

    def answer_all(self, requests: Sequence[Sequence[Asked]]) -> list[list[Answer]]:
        self.batches.append(len(requests))
        self.started.set()
        assert self.go.wait(60)
        return super().answer_all(requests)


class LostStore(MemoryStore):
    """Its disk or its server is gone; it counts how often that was found out."""

    tries = 0

    def read(self, users: Sequence[str]) -> dict[str, Stored]:
        self.tries += 1
        raise StoreError("gone")


def event(user: str, sequence: int, item: str) -> list[dict[str, Any]]:
    return [{"user_id": user, "events": [{"sequence": sequence, "item": item}]}]


def assert_same(found: list[Answer], wanted: list[Answer]) -> None:
    for one, other in zip(found, wanted, strict=True):
        plain = [replace(answer, recommendations=replace(answer.recommendations, scores=[])) for answer in (one, other)]
        assert plain[0] == plain[1]
        assert one.recommendations.scores == pytest.approx(other.recommendations.scores, abs=1e-5)


def test_together_as_each_alone(recommender: CatalogRecommender) -> None:
    """Histories, users by turns, rows without an answer, whose sentences name the row of their own request."""
    drawn = random.Random(1)
    requests: list[list[dict[str, Any]]] = []
    sequences = dict.fromkeys("abc", 0)
    for _ in range(60):
        user, item = drawn.choice("abc"), f"i{drawn.randint(1, 30)}"
        sequences[user] += 1
        requests.append(event(user, sequences[user], item))
        requests.append([{"history": []}, {"history": [item] * drawn.randint(1, 9), "k": drawn.randint(1, 20)}])
    together, alone = Engine(recommender, MemoryStore()), Engine(recommender, MemoryStore())
    found = answer_together(together, requests)
    for one, rows in zip(found, requests, strict=True):
        assert isinstance(one, list)
        assert_same(one, alone.answer(rows))


def test_a_user_is_in_a_batch_once_and_in_order(recommender: CatalogRecommender) -> None:
    engine = Counting(recommender, MemoryStore())
    requests = [event("a", 1, "i1"), event("b", 1, "i2"), event("a", 2, "i3"), event("a", 3, "i4"), event("b", 2, "i5")]
    found = answer_together(engine, requests)
    assert [one[0].sequence for one in found if isinstance(one, list)] == [1, 1, 2, 3, 2]
    assert engine.batches == [2, 2, 1]


def test_none_fails_for_another(recommender: CatalogRecommender) -> None:
    store = MemoryStore()
    engine = Engine(recommender, store)
    store.write({"bad": Change(0, Stored(1, b"nothing of ours"))})
    refused, damaged, good, history = answer_together(
        engine, [[{"k": 1}], event("bad", 2, "i1"), event("good", 1, "i1"), [{"history": ["i1"]}]]
    )
    assert isinstance(refused, RefusedRequestError)
    assert isinstance(damaged, DamagedUserError)
    assert isinstance(good, list)
    assert good[0].sequence == 1
    assert isinstance(history, list)
    assert history[0].recommendations.item_ids
    (again,) = engine.answer(event("good", 2, "i2"))  # the first one counted once
    assert again.sequence == 2


def test_a_lost_store_is_waited_for_once(recommender: CatalogRecommender) -> None:
    """Clients whose requests time out send them again, and all of these wait at the same time."""
    store = LostStore()
    requests = [event("a", 1, "i1"), event("b", 1, "i1"), event("a", 1, "i1"), event("a", 1, "i1")]
    found = answer_together(Engine(recommender, store), requests)
    assert all(isinstance(one, StoreError) for one in found)
    assert store.tries == 1


class BusyStore(MemoryStore):
    """Another process writes the events of one user all the time."""

    def write(self, changes: Mapping[str, Change]) -> set[str]:
        busy = {user for user in changes if user == "busy"}
        return super().write({user: change for user, change in changes.items() if user not in busy}) | busy


def test_a_user_whom_others_write_costs_no_other_the_answer(recommender: CatalogRecommender) -> None:
    engine = Engine(recommender, BusyStore())
    found = answer_together(engine, [event("a", 1, "i1"), event("busy", 1, "i1"), event("b", 1, "i1")])
    assert isinstance(found[1], UserStoreError)
    assert [one[0].sequence for one in (found[0], found[2]) if isinstance(one, list)] == [1, 1]


class Broken(Engine):
    """Has a mistake that one item finds."""

    def read(self, rows: Any) -> list[Asked]:
        if rows == "in reading":
            raise RuntimeError(rows)
        return super().read(rows)

    def answer_all(self, requests: Sequence[Sequence[Asked]]) -> list[list[Answer]]:
        if any(row.history == ["i7"] for rows in requests for row in rows):
            raise RuntimeError("in answering")
        return super().answer_all(requests)


def test_a_mistake_of_ours_is_told_to_one(recommender: CatalogRecommender) -> None:
    found = answer_together(
        Broken(recommender, MemoryStore()), ["in reading", [{"history": ["i7"]}], [{"history": ["i1"]}]]
    )
    assert [str(one) for one in found[:2]] == ["in reading", "in answering"]
    assert isinstance(found[2], list)


def test_what_comes_meanwhile_is_the_next_batch(recommender: CatalogRecommender) -> None:
    engine = Counting(recommender, MemoryStore())
    engine.go.clear()

    async def ask() -> list[list[Answer]]:
        batcher = Batcher(engine, threads=1)
        first = asyncio.create_task(batcher.answer([{"history": ["i1"]}]))
        await asyncio.to_thread(engine.started.wait, 60)
        small = [asyncio.create_task(batcher.answer([{"history": ["i2"]}])) for _ in range(5)]
        several = asyncio.create_task(batcher.answer([{"history": ["i3"]}] * 30))
        last = asyncio.create_task(batcher.answer([{"history": ["i4"]}]))
        gone = asyncio.create_task(batcher.answer([{"history": ["i5"]}]))
        await asyncio.sleep(0)
        gone.cancel()
        refused = asyncio.create_task(batcher.answer([{"history": 5}]))
        await asyncio.sleep(0)
        engine.go.set()
        with pytest.raises(RefusedRequestError, match="row 0: history is 5"):
            await refused
        with pytest.raises(asyncio.CancelledError):
            await gone
        return [await one for one in (first, *small, several, last)]

    answers = asyncio.run(ask())
    assert [len(rows) for rows in answers] == [1, 1, 1, 1, 1, 1, 30, 1]
    assert all(rows[0].recommendations.item_ids for rows in answers)
    assert engine.batches == [1, 5, 3]  # 35 rows are too many; whoever has gone is answered all the same


def test_a_small_request_does_not_wait_for_large_ones(recommender: CatalogRecommender) -> None:
    engine = Counting(recommender, MemoryStore())
    engine.go.clear()

    row, of_user = {"history": ["i1"]}, event("u", 1, "i1")[0]
    many = [{"user_id": f"u{user}", "events": [{"sequence": 1, "item": "i1"}]} for user in range(33)]
    large = [[row] * 33, many, [{"history": ["i1"] * 8_000}], [{**row, "k": 100}] * 17]
    small = [[row], [of_user]]

    async def ask() -> None:
        batcher = Batcher(engine, threads=len(large))
        tasks = []
        for rows in (*large, *small):  # none can end, and all begin
            engine.started.clear()
            tasks.append(asyncio.create_task(batcher.answer(rows)))
            assert await asyncio.to_thread(engine.started.wait, 60)
        engine.go.set()
        await asyncio.gather(*tasks)

    asyncio.run(ask())
    assert engine.batches == [1] * 6

"""Histories, users, what is wanted and what is not, and who is unknown; by the smallest models."""

import random
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ssm4rec.models.serving import RecurrentRecommender
from ssm4rec.registry.item_index import ItemIndex
from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.serving.engine import Answer, Engine
from ssm4rec.serving.history import History
from ssm4rec.serving.records import record_from_bytes
from ssm4rec.serving.requests import Limits, RefusedRequestError
from ssm4rec.serving.sqlite_store import SQLiteStore
from ssm4rec.serving.store import DamagedUserError, MemoryStore, StateStore, Stored, StoreError
from tests.serving.serving_models import LENGTH, assert_best, expected_scores, make_recommender

POPULARITY = torch.arange(30, 0, -1.0)
"""Of the items in the catalog's order."""


@pytest.fixture(scope="module")
def recommender() -> CatalogRecommender:
    return make_recommender("2mamba4rec")


def events(*items: str, after: int = 0) -> list[dict[str, Any]]:
    return [{"sequence": after + place, "item": item} for place, item in enumerate(items, start=1)]


def ask(engine: Engine, **row: Any) -> Answer:
    (answer,) = engine.answer([row])
    return answer


def test_histories_are_answered_as_the_registered_model_does(recommender: CatalogRecommender) -> None:
    drawn = random.Random(0)
    histories = [[drawn.choice(["i3", "Film 5", "FILM 7", "alien", f"i{drawn.randint(1, 30)}"]) for _ in range(length)]
                 for length in (1, LENGTH, 3 * LENGTH, 2)]  # fmt: skip
    for masked in (True, False):
        wanted = recommender.recommend(histories, 12, masked)
        found = Engine(recommender, MemoryStore()).answer(
            [{"history": one, "k": 12, "masked": masked} for one in histories]
        )
        for one, other in zip(found, wanted, strict=True):
            assert replace(one.recommendations, scores=[]) == replace(other, scores=[])
            assert one.recommendations.scores == pytest.approx(other.scores, abs=1e-5)
            assert (one.fallback, one.sequence, one.missing) == ("", 0, None)


def test_a_batch_of_users_is_one_step_of_the_model(
    recommender: CatalogRecommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at the model, whose answers are as ever."""
    engine = Engine(recommender, MemoryStore())
    users = [f"u{number}" for number in range(20)]
    engine.answer([{"user_id": user, "events": events("i1", user.replace("u", "i"))} for user in users])
    ask(engine, user_id="u0")  # the first stored state: what one is made of is found out, once
    model, shapes = recommender.model, []
    assert isinstance(model, RecurrentRecommender)
    read = model.read
    monkeypatch.setattr(model, "read", lambda items, *rest: (shapes.append(tuple(items.shape)), read(items, *rest))[1])
    answers = engine.answer([{"user_id": user, "events": events("i2", after=2)} for user in users])
    assert shapes == [(20, 1)]
    monkeypatch.undo()
    for user, answer in zip(users, answers, strict=True):
        expected = expected_scores(recommender, ["i1", user.replace("u", "i"), "i2"])
        assert_best(answer.recommendations.item_ids, answer.recommendations.scores, expected, 10)


def test_an_index_answers_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users and histories by the index; allowed items, too small a stock and unknown people as without it."""
    monkeypatch.setattr("ssm4rec.registry.item_index._SHARE", 1)  # as if it were a large catalog
    recommender = make_recommender("2mamba4rec", items=1500)
    index = ItemIndex.build(recommender.model.item_vectors())
    by_index = Engine(recommender, MemoryStore(), torch.arange(1500, 0, -1.0), index)
    exact = Engine(recommender, MemoryStore(), torch.arange(1500, 0, -1.0))
    rows = [
        {"history": ["i3", "i500"], "excluded": ["i7"]},
        {"user_id": "u", "events": events("i1", "i2"), "k": 5},
        {"history": ["i3"], "masked": True},
        {"history": ["i3"], "allowed": ["i9", "i8"]},
        {"history": ["alien"]},
        {"history": ["i3"], "k": 1000},
    ]
    for found, wanted, approximate in zip(
        by_index.answer(rows), exact.answer(rows), [True, True, True, False, False, False], strict=True
    ):
        assert found.approximate == approximate
        assert replace(found, recommendations=None, approximate=False) == replace(wanted, recommendations=None)
        assert found.recommendations.item_ids == wanted.recommendations.item_ids
        assert found.recommendations.scores == pytest.approx(wanted.recommendations.scores, abs=1e-5)
    for engine in (by_index, exact):
        engine.set_stock([f"i{item}" for item in range(1, 12)])
    found, wanted = (ask(engine, history=["i3"]) for engine in (by_index, exact))
    assert (found, found.approximate) == (wanted, False)


def test_what_is_allowed_excluded_and_in_stock(recommender: CatalogRecommender) -> None:
    engine = Engine(recommender, MemoryStore(), POPULARITY)
    ask(engine, user_id="u", events=events("i1", "i2"))
    history: dict[str, float] = expected_scores(recommender, ["i1", "i2"])

    def best(items: set[str], **row: Any) -> Answer:
        answer = ask(engine, user_id="u", k=30, masked=False, **row)
        expected = {item: score for item, score in history.items() if item in items}
        assert_best(answer.recommendations.item_ids, answer.recommendations.scores, expected, len(items))
        return answer

    some = {"i1", "i4", "i9", "i20"}
    assert best(some, allowed=["i1", "i4", "Film 9", "i20", "x"]).recommendations.unknown == ["x"]
    assert best({*history} - some, excluded=[*some, "y", None]).recommendations.unknown == ["y", "null"]
    best({"i4"}, allowed=["i4", "i9"], excluded=["i9"])
    assert engine.set_stock(["i4", "i1", "z"]) == ["z"]
    best({"i1", "i4"})
    best({"i4"}, allowed=["i4", "i9"])
    # Masked, the history goes as well; unknown users get what is in stock, too.
    assert ask(engine, user_id="u", masked=True).recommendations.item_ids == ["i4"]
    assert {*ask(engine, user_id="nobody").recommendations.item_ids} == {"i1", "i4"}
    nothing = ask(engine, user_id="u", allowed=["i9"])
    assert nothing.recommendations.error == (
        "row 0: nothing to recommend, masked, allowed, excluded and the stock leave no item"
    )
    assert ask(engine, user_id="nobody", allowed=[]).recommendations.error == nothing.recommendations.error
    with pytest.raises(RefusedRequestError, match="in_stock is 'i4', not a list"):
        engine.set_stock("i4")
    assert engine.set_stock(None) == []
    best({*history})


def test_unknown_users_get_what_is_popular_and_are_told_why(recommender: CatalogRecommender) -> None:
    engine = Engine(recommender, MemoryStore(), POPULARITY)
    first = [*recommender.catalog.item_ids][:3]
    stranger, alien, empty, foreign = engine.answer(
        [
            {"user_id": "new", "k": 3},
            {"user_id": "other", "k": 3, "events": events("alien")},
            {"history": [], "k": 3},
            {"history": ["alien"], "k": 3, "excluded": first[:1]},
        ]
    )
    assert stranger.recommendations.item_ids == first
    assert stranger.recommendations.scores == [30, 29, 28]
    assert stranger.fallback == "row 0: nothing to go by, no item of user 'new' is known here"
    assert (alien.fallback, alien.sequence) == ("row 1: nothing to go by, no item of user 'other' is known here", 1)
    assert alien.recommendations.unknown == ["alien"]
    assert (empty.fallback, empty.recommendations.item_ids) == (
        "row 2: nothing to go by in this history, it is empty",
        first,
    )
    assert foreign.recommendations.item_ids == [*recommender.catalog.item_ids][1:4]
    bare = Engine(recommender, MemoryStore())
    refused = ask(bare, user_id="new")
    assert (refused.fallback, refused.recommendations.error) == ("", stranger.fallback)
    # A question leaves nothing behind, or questions for random users would fill the store.
    store = MemoryStore()
    Engine(recommender, store).answer([{"user_id": f"u{number}"} for number in range(50)])
    assert len(store) == 0


def test_a_refused_request_counts_nothing(recommender: CatalogRecommender) -> None:
    store = MemoryStore()
    engine = Engine(recommender, store)
    with pytest.raises(RefusedRequestError, match="row 1: k is 0"):
        engine.answer([{"user_id": "u", "events": events("i1")}, {"history": [], "k": 0}])
    assert len(store) == 0


@pytest.mark.parametrize("name", ["2mamba4rec", "hydra4rec"])
def test_memory_is_bounded_and_who_left_it_comes_back(name: str) -> None:
    recommender, store = make_recommender(name), MemoryStore(most_bytes=60_000)
    engine = Engine(recommender, store)
    log = [f"i{number % 30 + 1}" for number in range(4 * LENGTH)]
    for start in range(0, 300, 50):
        engine.answer([{"user_id": f"u{start + row}", "events": events(*log)} for row in range(50)])
        assert store.bytes <= 60_000
    assert 0 < len(store) < 100
    late = events("i7", after=len(log))
    gone = ask(engine, user_id="u0", events=late)
    assert (gone.sequence, gone.missing) == (0, 1)
    back = ask(engine, user_id="u0", events=[*events(*log[10:], after=10), *late], skip_missing=True)
    assert (back.sequence, back.missing) == (len(log) + 1, None)
    expected = expected_scores(recommender, [*log[10:], "i7"])
    assert_best(back.recommendations.item_ids, back.recommendations.scores, expected, 10)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_the_same_events_from_many_threads_count_once(
    kind: str, recommender: CatalogRecommender, tmp_path: Path
) -> None:
    """Two replicas, each of which is sent everything, in pieces of its own."""
    path = tmp_path / "users.sqlite"
    memory = MemoryStore()
    stores: list[StateStore] = [memory, memory] if kind == "memory" else [SQLiteStore(path), SQLiteStore(path)]
    engines = [Engine(recommender, store) for store in stores]
    log = [f"i{number * 7 % 30 + 1}" for number in range(20)]
    problems: list[BaseException] = []

    def deliver(engine: Engine, size: int) -> None:
        try:
            for end in range(size, len(log) + size, size):
                until = min(end, len(log))
                assert ask(engine, user_id="u", events=events(*log[:until])).sequence >= until
        except BaseException as problem:
            problems.append(problem)

    running = [threading.Thread(target=deliver, args=(engines[size % 2], size)) for size in (1, 2, 3)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert not problems
    answer = ask(engines[0], user_id="u")
    assert answer.sequence == len(log)
    assert_best(answer.recommendations.item_ids, answer.recommendations.scores, expected_scores(recommender, log), 10)


def one_bit_turned(content: bytes, every: int) -> Iterator[bytes]:
    """Yield copies in which a bit of one byte is another."""
    for place in range(0, len(content), every):
        yield content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]


def test_a_damaged_record_says_what_to_do(recommender: CatalogRecommender) -> None:
    store = MemoryStore()
    engine = Engine(recommender, store)
    ask(engine, user_id="u", events=events("i1", "i2"))
    record = record_from_bytes(store.read(["u"])["u"].record)
    rows_of_two = record._replace(state=tuple(torch.cat([part, part]) for part in record.state))
    last_is_nan = record._replace(state=(*record.state[:-1], record.state[-1] * torch.nan))
    for damaged in (
        b"",
        b"\x00" * 100,
        record.to_bytes()[:-3],
        record._replace(history=replace(record.history, sequence=3)).to_bytes(),
        record._replace(history=History("2", ("i1",), ())).to_bytes(),  # type: ignore[arg-type] # that is the damage
        record._replace(history=History(2, (1, 2), ())).to_bytes(),  # type: ignore[arg-type]
        record._replace(state=record.state[:1]).to_bytes(),
        rows_of_two.to_bytes(),
        last_is_nan.to_bytes(),
        *one_bit_turned(record.to_bytes(), 97),
    ):
        store._records["u"] = Stored(2, damaged)
        with pytest.raises(
            DamagedUserError, match=r"user 'u': a damaged record .*; forget the user \(DELETE\), and send the last"
        ):
            ask(engine, user_id="u")
    engine.forget("u")
    assert ask(engine, user_id="u", events=events("i1", "i2")).sequence == 2


class LostStore(MemoryStore):
    """Its disk or its server is gone."""

    def read(self, users: Sequence[str]) -> dict[str, Stored]:
        raise StoreError("gone")


def test_histories_do_not_wait_for_the_store_of_users(recommender: CatalogRecommender) -> None:
    engine = Engine(recommender, LostStore())
    assert ask(engine, history=["i1"]).recommendations.item_ids
    with pytest.raises(StoreError, match="gone"):
        engine.answer([{"history": ["i1"]}, {"user_id": "u"}])


def test_half_a_character_is_refused_before_anything_is_done(recommender: CatalogRecommender) -> None:
    """JSON can hold it, and no answer: the request would fail after its events were counted."""
    engine = Engine(recommender, MemoryStore())
    with pytest.raises(RefusedRequestError, match=r"entry 0 of excluded is '\\ud800', half of a character"):
        ask(engine, user_id="u", events=events("i1"), excluded=["\ud800"])
    assert ask(engine, user_id="u").sequence == 0
    with pytest.raises(RefusedRequestError, match="entry 1 of in_stock"):
        engine.set_stock(["i1", "\ud800"])
    assert len(ask(engine, history=["i1"], k=5).recommendations.item_ids) == 5


def test_limits_hold(recommender: CatalogRecommender) -> None:
    engine = Engine(recommender, MemoryStore(), limits=Limits(rows=1, k=3))
    with pytest.raises(RefusedRequestError, match="2 rows: at most 1"):
        engine.answer([{"history": []}] * 2)
    with pytest.raises(RefusedRequestError, match="k is 10: a whole number from 1 to 3"):
        engine.answer([{"history": ["i1"], "k": 10}])

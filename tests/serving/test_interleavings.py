"""Answers by the state equal those by all events, whatever happens to users, events, processes and models meanwhile."""

import random
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.serving.engine import Engine
from ssm4rec.serving.redis_store import RedisStore
from ssm4rec.serving.sqlite_store import SQLiteStore
from ssm4rec.serving.store import StateStore
from tests.redis_server import redis_server
from tests.serving.serving_models import LENGTH, assert_best, expected_scores, make_recommender

NewStore = Callable[[], StateStore]
"""Opens the store once more, as another replica does, or a server that was started again."""
USERS = [f"user {number}" for number in range(8)]
ITEMS = [f"i{item}" for item in range(1, 31)]


class Platform:
    """Delivers events as a platform may: twice, in any order, with gaps; and knows what must be answered."""

    def __init__(self, store: NewStore, seed: int) -> None:
        self.store = store
        self.drawn = random.Random(seed)
        self.log: dict[str, list[str]] = defaultdict(list)
        """All events of a user that an engine has acknowledged, or will after they were sent again."""
        self.acknowledged: dict[str, int] = defaultdict(int)

    def start(self, recommender: CatalogRecommender) -> Engine:
        return Engine(recommender, self.store())

    def row(self, user: str) -> tuple[dict[str, object], int, int | None]:
        """A row of a request, the sequence number that it is to be acknowledged with, and what then is missing."""
        log, done = self.log[user], self.acknowledged[user]
        log += [self.drawn.choice([*ITEMS, "alien"]) for _ in range(self.drawn.choice([0, 1, 1, 1, 2, 5, 20]))]
        start = self.drawn.randint(max(0, done - 3), done)
        numbers = [*range(start + 1, len(log) + 1)]
        until, missing = len(log), None
        if len(log) - done > 1 and self.drawn.random() < 0.3:
            missing = self.drawn.randint(done + 1, len(log) - 1)
            numbers.remove(missing)
            until = missing - 1
        self.drawn.shuffle(numbers)
        events = [{"sequence": number, "item": log[number - 1]} for number in numbers]
        return {"user_id": user, "events": events, "k": self.drawn.randint(1, 40)}, until, missing

    def ask(self, engine: Engine) -> None:
        """One request of up to three users, and a look at its answers."""
        users = self.drawn.sample(USERS, self.drawn.randint(1, 3))
        rows = {user: self.row(user) for user in users}
        answers = engine.answer([row for row, _, _ in rows.values()])
        for (user, (row, until, missing)), answer in zip(rows.items(), answers, strict=True):
            assert (answer.sequence, answer.missing) == (until, missing)
            self.acknowledged[user] = until
            counted = self.log[user][:until]
            expected = expected_scores(engine.recommender, counted)
            found = answer.recommendations
            if not expected:
                assert "nothing to go by" in found.error
                continue
            if engine.recommender.masks:
                expected = {item: score for item, score in expected.items() if item not in counted}
            assert not found.error or not expected
            assert_best(found.item_ids, found.scores, expected, min(int(str(row["k"])), len(expected)))


def interleave(store: NewStore, before: str, after: str, times: int, overrides: str = "") -> None:
    """Two engines on one store, of one version, then of two (a canary), then of the other; restarted at random."""
    platform = Platform(store, seed=times)
    old = make_recommender(before, seed=0, overrides=overrides)
    new = make_recommender(after, seed=1, items=35, overrides=overrides)
    versions = [old, old]
    engines = [platform.start(version) for version in versions]
    for time in range(times):
        if time in (times // 3, 2 * times // 3):
            versions[time == 2 * times // 3] = new
            engines = [platform.start(version) for version in versions]
        if platform.drawn.random() < 0.02:
            which = platform.drawn.randint(0, 1)
            engines[which] = platform.start(versions[which])
        platform.ask(platform.drawn.choice(engines))
    assert max(map(len, platform.log.values())) > 4 * LENGTH


def in_file(folder: Path) -> NewStore:
    return partial(SQLiteStore, folder / "users.sqlite")


PAIRS = [("2mamba4rec", "2mamba4rec"), ("mamba4rec", "sasrec"), ("sasrec", "hydra4rec"), ("hydra4rec", "mamba4rec")]


@pytest.mark.parametrize(("before", "after"), PAIRS)
def test_some_requests(before: str, after: str, tmp_path: Path) -> None:
    interleave(in_file(tmp_path), before, after, 45)


def test_models_without_a_repeat_term_mask_what_users_had(tmp_path: Path) -> None:
    interleave(in_file(tmp_path), "lrurec", "2mamba4rec", 45, "model.repeat_term=false")


def test_replicas_on_one_redis(tmp_path: Path) -> None:
    with redis_server(tmp_path) as address:
        interleave(partial(RedisStore, address), "2mamba4rec", "sasrec", 45)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [*PAIRS, ("lrurec", "lrurec")])
def test_1000_requests(before: str, after: str, tmp_path: Path) -> None:
    interleave(in_file(tmp_path), before, after, 1000)


@pytest.mark.slow
def test_1000_requests_to_replicas_on_one_redis(tmp_path: Path) -> None:
    with redis_server(tmp_path) as address:
        interleave(partial(RedisStore, address), "2mamba4rec", "2mamba4rec", 1000)

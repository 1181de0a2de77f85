"""Processes killed at any moment under load: every acknowledged event is stored, and none is counted twice."""

import json
import os
import random
import signal
import time
import traceback
from pathlib import Path

import pytest
import torch

from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.serving.engine import Engine
from ssm4rec.serving.records import record_from_bytes
from ssm4rec.serving.sqlite_store import SQLiteStore
from tests.serving.serving_models import LENGTH, assert_best, expected_scores, make_recommender

USERS = 5


def item(user: int, sequence: int) -> str:
    """The item of a user's event: every process sends the same ones."""
    return f"i{(user * 11 + sequence * sequence * 7) % 30 + 1}"


def log(user: int, count: int) -> list[str]:
    return [item(user, sequence) for sequence in range(1, count + 1)]


def load(recommender: CatalogRecommender, path: Path, seed: int, acknowledgements: int) -> None:
    """Deliver events until killed, some of them again; write what is acknowledged, user and number, to a pipe."""
    torch.set_num_threads(1)
    engine, drawn = Engine(recommender, SQLiteStore(path)), random.Random(seed)
    known = [0] * USERS
    while True:
        users = drawn.sample(range(USERS), 2)
        rows = []
        for user in users:
            start = max(0, known[user] - drawn.randint(0, 2))
            numbers = range(start + 1, known[user] + 1 + drawn.randint(1, 3))
            rows.append({"user_id": f"u{user}", "events": [{"sequence": n, "item": item(user, n)} for n in numbers]})
        for user, answer in zip(users, engine.answer(rows), strict=True):
            known[user] = answer.sequence
            os.write(acknowledgements, json.dumps([user, answer.sequence]).encode() + b"\n")


def start(recommender: CatalogRecommender, path: Path, seed: int, pipe: tuple[int, int]) -> int:
    child = os.fork()
    if not child:
        try:
            load(recommender, path, seed, pipe[1])
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    return child


def kill_under_load(path: Path, kills: int) -> None:
    recommender, drawn = make_recommender("2mamba4rec"), random.Random(kills)
    for kill in range(kills):
        pipe = os.pipe()
        children = [start(recommender, path, 2 * kill + number, pipe) for number in range(2)]
        os.close(pipe[1])
        received = os.read(pipe[0], 2**16)  # from here on there is load
        time.sleep(drawn.random() * 0.2)
        for child in children:
            os.kill(child, signal.SIGKILL)
        ends = [os.waitpid(child, 0)[1] for child in children]
        while part := os.read(pipe[0], 2**16):
            received += part
        os.close(pipe[0])
        assert ends == [signal.SIGKILL] * 2
        look(recommender, path, [json.loads(line) for line in received.splitlines()])


def look(recommender: CatalogRecommender, path: Path, acknowledged: list[list[int]]) -> None:
    store = SQLiteStore(path)
    engine = Engine(recommender, store)
    assert acknowledged
    for user in {user for user, _ in acknowledged}:
        last = max(number for of, number in acknowledged if of == user)
        sequence, record = store.read([f"u{user}"])[f"u{user}"]
        assert sequence >= last, "an acknowledged event is lost"
        history = record_from_bytes(record).history
        events = log(user, sequence)
        span = sequence if sequence < 2 * LENGTH else LENGTH + sequence % LENGTH
        assert (history.sequence, list(history.recent)) == (sequence, events[-span:]), (
            "an event is lost or counted twice"
        )
        assert {*history.earlier} == {*events[:-span]}
        (answer,) = engine.answer([{"user_id": f"u{user}"}])
        best = answer.recommendations
        assert_best(best.item_ids, best.scores, expected_scores(recommender, events), 10)
    store.close()


def test_some_kills(tmp_path: Path) -> None:
    kill_under_load(tmp_path / "users.sqlite", 3)


@pytest.mark.slow
def test_50_kills(tmp_path: Path) -> None:
    kill_under_load(tmp_path / "users.sqlite", 50)

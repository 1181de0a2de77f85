"""The three orders of events, and what is said of them, against loops over users."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy
import polars
import pytest

from ssm4rec.data.event_order import EVENT_ORDERS, in_order, order_facts


def draw(users: int, seed: int, alike: bool) -> polars.DataFrame:
    """Events in seconds of the year 2000, many at one second; items in one order for all users, if ``alike``."""
    random = numpy.random.default_rng(seed)
    rows = []
    for user in range(users):
        for time in sorted(random.integers(978_300_000, 978_300_400, 6)):
            items = random.choice(30, size=random.integers(1, 4), replace=False)
            rows += [(user, int(item), int(time) * 1_000_000) for item in (sorted(items) if alike else items)]
    return polars.DataFrame(rows, ["user", "item", "time"], orient="row")


def test_recbole_order_is_a_stable_sort_of_float32_seconds() -> None:
    """What torch does with the times, and then numpy's stable sort, as recbole/data/interaction.py ``sort`` has it."""
    frame = draw(20, 1, alike=True).sample(fraction=1.0, shuffle=True, seed=3)
    seconds = (frame["time"].to_numpy() / 1e6).astype("float32")
    assert len(numpy.unique(seconds)) < 10  # multiples of 64 seconds
    expected = frame[numpy.argsort(seconds, kind="stable")]
    assert in_order(frame, "recbole", "s").equals(expected)


@pytest.mark.parametrize(("unit", "per_second"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9), ("date", 1)])
def test_recbole_order_rounds_the_numbers_of_the_file(unit: str, per_second: int) -> None:
    """Of 2023: float32 of seconds has steps of 128 seconds, of milliseconds of 131, of both other units of 134, 137."""
    seconds = numpy.random.default_rng(0).permutation(numpy.arange(1_690_000_000, 1_690_001_000))
    frame = polars.DataFrame({"time": seconds * 1_000_000})
    expected = frame[numpy.argsort((seconds * per_second).astype("float32"), kind="stable")]
    assert in_order(frame, "recbole", unit).equals(expected)


def test_random_ties_do_not_hang_on_the_file_and_leave_times_sorted() -> None:
    frame = draw(50, 2, alike=True)
    drawn = in_order(frame, "random-ties", "s")
    assert drawn["time"].is_sorted()
    assert sorted(drawn.rows()) == sorted(frame.rows())
    assert drawn.equals(in_order(frame, "random-ties", "s"))
    assert not drawn.equals(in_order(frame, "exact", "s"))


@pytest.mark.parametrize("order", EVENT_ORDERS)
@pytest.mark.parametrize("alike", [True, False])
def test_facts_equal_a_loop(order: str, alike: bool) -> None:
    frame = in_order(draw(60, 4, alike), order, "s").sort("user", maintain_order=True)
    users, items, times = (frame[name].to_numpy() for name in ("user", "item", "time"))
    targets = numpy.flatnonzero(numpy.append(users[1:] != users[:-1], True))
    found = order_facts(order, times, "s", users.astype("int32"), items.astype("int32") + 1, targets)
    keys = [numpy.float32(time / 1_000_000) if order == "recbole" else time for time in times.tolist()]
    neighbours = tied = in_tie = repeat = 0
    directions: dict[tuple[int, int], list[tuple[int, bool]]] = {}
    for user in range(60):
        places = numpy.flatnonzero(users == user).tolist()
        neighbours += len(places) - 1
        tied += sum(keys[one] == keys[other] for one, other in itertools.pairwise(places))
        in_tie += keys[places[-1]] == keys[places[-2]]
        repeat += items[places[-1]] in items[places[:-1]]
        for one, other in itertools.combinations(places, 2):
            if keys[one] == keys[other] and other - one <= 4 and items[one] != items[other]:
                pair = tuple(sorted((items[one], items[other])))
                directions.setdefault(pair, []).append((user, bool(items[one] < items[other])))
    couples = [
        one == other
        for seen in directions.values()
        for (user, one), (another, other) in itertools.combinations(seen, 2)
        if user != another
    ]
    assert found == {
        "name": order,
        "neighbours_that_tie": pytest.approx(tied / neighbours),
        "pairs_in_one_order": pytest.approx(numpy.mean(couples)),
        "targets_in_ties": pytest.approx(in_tie / 60),
        "targets_that_repeat": pytest.approx(repeat / 60),
    }
    if order == "exact":
        assert found["pairs_in_one_order"] > 0.9 if alike else 0.3 < found["pairs_in_one_order"] < 0.7


def test_a_user_is_not_compared_with_themselves() -> None:
    """Three baskets with the same two items: of one user nothing to compare, of two who differ never in one order."""
    times = numpy.repeat([1, 2, 3], 2)
    one = order_facts("exact", times, "s", numpy.zeros(6, "int32"), numpy.tile([1, 2], 3).astype("int32"), times[:0])
    assert one["pairs_in_one_order"] is None
    users, items = numpy.repeat([0, 1], 6).astype("int32"), numpy.repeat([[1, 2], [2, 1]], 3, axis=0).ravel()
    two = order_facts("exact", numpy.tile(times, 2), "s", users, items.astype("int32"), times[:0])
    assert two["pairs_in_one_order"] == 0


def test_nothing_to_compare_is_said_so() -> None:
    users, items = numpy.zeros(3, "int32"), numpy.arange(1, 4, dtype="int32")
    found = order_facts("exact", numpy.array([1, 2, 3]), "order", users, items, numpy.array([2]))
    assert found["pairs_in_one_order"] is None
    assert found["neighbours_that_tie"] == found["targets_in_ties"] == 0
    without = order_facts("exact", numpy.array([1, 2, 3]), "order", users, items, numpy.array([], "int64"))
    assert without["targets_in_ties"] == without["targets_that_repeat"] == 0


@pytest.mark.skipif("ML_1M_ZIP" not in os.environ, reason="ML_1M_ZIP is not set: the path of MovieLens-1M")
@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("validation", "5266d95fbb9581ee55b3a5731405b639a9fab6f8d2d951090cdb7340362649cb"),
        ("test", "ba335f4bea1ee6e8e52e39ffdf12a95e03142790fa90fadf341c69785ee81afa"),
    ],
)
def test_recbole_order_gives_recboles_own_targets(tmp_path: Path, split: str, expected: str) -> None:
    """The hashes are of RecBole 1.2.1's targets (lines ``user item``, users ascending), on 2026-11-28.

    They were made from a copy of MovieLens-1M with MD5 80690075dd966e9c34826945af689381, whose ratings.dat was rebuilt:
    users, movies and order are the original's, a third of the times were filled in. Other files are skipped.
    """
    archive = Path(os.environ["ML_1M_ZIP"])
    if hashlib.md5(archive.read_bytes(), usedforsecurity=False).hexdigest() != "80690075dd966e9c34826945af689381":
        pytest.skip(f"{archive} is another copy than the hashes are of")
    flags = {"dataset": "ml-1m", "source": archive.as_uri(), "any-checksum": "true", "event-order": "recbole"}
    command = [sys.executable, "-m", "ssm4rec.stages.prepare_data", "--dataset-dir", str(tmp_path / "data")]
    subprocess.run([*command, *(f"--{name}={value}" for name, value in flags.items())], check=True)
    sequences = polars.read_parquet(tmp_path / "data" / "sequences.parquet")
    item_ids = polars.read_parquet(tmp_path / "data" / "items.parquet")["item_id"].to_list()
    columns = (sequences["user_id"], sequences["items"], sequences[f"{split}_position"])
    targets = {int(user): item_ids[items[place] - 1] for user, items, place in zip(*columns, strict=True)}
    text = "\n".join(f"{user} {targets[user]}" for user in sorted(targets))
    assert hashlib.sha256(text.encode()).hexdigest() == expected

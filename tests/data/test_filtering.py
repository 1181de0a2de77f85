import random

import polars
import pytest

from ssm4rec.data.filtering import Filters, count, drawn, filter_interactions, keep_core
from ssm4rec.runtime.errors import InputError


def frame_of(rows):
    """Make a frame of (user, item) or (user, item, rating) rows, in this order."""
    return polars.DataFrame(
        {
            "user": polars.Series([row[0] for row in rows], dtype=polars.Categorical),
            "item": polars.Series([row[1] for row in rows], dtype=polars.Categorical),
            "rating": polars.Series([(*row, None)[2] for row in rows], dtype=polars.Float32),
        }
    )


def pairs(frame):
    return frame.select("user", "item").cast(polars.String).rows()


def naive_core(rows, k):
    """Drop one too rare user or item at a time until there is none."""
    while True:
        for place in (0, 1):
            counts = {}
            for row in rows:
                counts[row[place]] = counts.get(row[place], 0) + 1
            rare = next((name for name, number in counts.items() if number < k), None)
            if rare is not None:
                rows = [row for row in rows if row[place] != rare]
                break
        else:
            return rows


@pytest.mark.parametrize("seed", range(20))
def test_core_equals_the_naive_fixpoint(seed):
    chance = random.Random(seed)
    rows = [
        (f"u{int(chance.paretovariate(0.8)) % 60}", f"i{int(chance.paretovariate(0.8)) % 40}")
        for _ in range(chance.randrange(1, 500))
    ]
    for k in (0, 1, 2, 3, 5):
        assert pairs(keep_core(frame_of(rows), k)) == naive_core(rows, k)


def test_the_core_takes_more_than_one_round():
    # Dropping user c leaves item y with one event, dropping y leaves user b with one, and so on to nothing.
    chain = [("a", "x"), ("b", "x"), ("b", "y"), ("c", "y")]
    assert pairs(keep_core(frame_of(chain), 2)) == []
    square = [("p", "v"), ("p", "w"), ("q", "v"), ("q", "w")]
    assert pairs(keep_core(frame_of(chain + square), 2)) == square


def test_duplicates():
    rows = [("a", "x", 1), ("a", "y", 2), ("a", "x", 3), ("b", "x", 4), ("a", "x", 5)]
    for which, kept in (("none", [1, 2, 3, 4, 5]), ("first", [1, 2, 4]), ("last", [2, 4, 5])):
        frame, _ = filter_interactions(frame_of(rows), Filters(which, None, 0))
        assert frame["rating"].to_list() == kept


def test_every_filter_has_its_counts():
    rows = [("a", "x", 5), ("a", "x", 5), ("a", "y", 4), ("b", "x", 4), ("b", "y", 5), ("b", "z", 1), ("c", "x", None)]
    frame, records = filter_interactions(frame_of(rows), Filters("first", 2.0, 2))
    assert pairs(frame) == [("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")]
    assert [(record["filter"], record["setting"], *record["after"].values()) for record in records] == [
        ("source", "", 3, 3, 7),
        ("deduplicate", "first", 3, 3, 6),
        ("minimum-rating", "2.0", 2, 2, 4),
        ("k-core", "2", 2, 2, 4),
    ]
    assert [record["before"] for record in records[1:]] == [record["after"] for record in records[:-1]]
    assert count(frame) == records[-1]["after"]


@pytest.mark.parametrize(("rating", "core", "flag"), [(6.0, 0, "minimum-rating 6.0"), (None, 3, "k-core 3")])
def test_the_filter_that_leaves_nothing_is_named(rating, core, flag):
    rows = [("a", "x", 5), ("a", "y", 5), ("b", "x", 5)]
    with pytest.raises(InputError, match=rf"nothing is left after --{flag} \(before it: 2 users, 2 items, 3 inter"):
        filter_interactions(frame_of(rows), Filters("none", rating, core))


def test_users_are_drawn_by_their_ids_alone():
    rows = [(f"user {user}", f"i{(user * step) % 30}") for step in range(1, 5) for user in range(200)]
    frame, records = filter_interactions(frame_of(rows), Filters("none", None, 0, 50))
    kept = pairs(frame)
    users = {user for user, _ in kept}
    assert len(users) == 50
    assert kept == [row for row in rows if row[0] in users]  # all that a user had, in order
    assert [(record["filter"], record["setting"]) for record in records][-2:] == [("k-core", "0"), ("draw-users", "50")]
    assert records[-1]["before"]["users"] == 200
    assert records[-1]["after"]["users"] == 50
    random.Random(1).shuffle(rows)
    assert {user for user, _ in pairs(drawn(frame_of(rows), 50))} == users


def test_a_draw_of_more_users_than_there_are_takes_all():
    rows = [("a", "x"), ("b", "x"), ("b", "y")]
    assert pairs(drawn(frame_of(rows), 2)) == rows


def test_users_are_drawn_of_the_core_of_all_events():
    # 10 of 4,000 users over 2,000 items have next to no item in common: their own 3-core is empty.
    chance = random.Random(0)
    rows = [(f"u{user}", f"i{chance.randrange(2_000)}") for user in range(4_000) for _ in range(5)]
    rows += [("rare", f"j{place}") for place in range(9)]  # outside the core: never drawn
    core = pairs(keep_core(frame_of(rows), 3))
    frame, records = filter_interactions(frame_of(rows), Filters("none", None, 3, 10))
    kept = pairs(frame)
    users = {user for user, _ in kept}
    assert len(users) == 10
    assert kept == [row for row in core if row[0] in users]  # no second core
    assert pairs(keep_core(frame, 3)) == []
    assert [record["filter"] for record in records] == [
        "source",
        "deduplicate",
        "minimum-rating",
        "k-core",
        "draw-users",
    ]
    assert records[-1]["after"] == {"users": 10, "items": len({item for _, item in kept}), "interactions": len(kept)}


@pytest.mark.parametrize("users", [0, -1])
def test_no_draw(users):
    rows = [("a", "x"), ("b", "x"), ("b", "y")]
    frame, records = filter_interactions(frame_of(rows), Filters("none", None, 0, users))
    assert pairs(frame) == rows
    assert records[-1]["filter"] == "k-core"

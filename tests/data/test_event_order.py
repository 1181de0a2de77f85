"""The three orders of events, and what is said of them, against loops over users."""

import itertools

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
    assert in_order(frame, "recbole", "us").equals(expected)


def test_random_ties_do_not_hang_on_the_file_and_leave_times_sorted() -> None:
    frame = draw(50, 2, alike=True)
    drawn = in_order(frame, "random-ties", "us")
    assert drawn["time"].is_sorted()
    assert sorted(drawn.rows()) == sorted(frame.rows())
    assert drawn.equals(in_order(frame, "random-ties", "us"))
    assert not drawn.equals(in_order(frame, "exact", "us"))


@pytest.mark.parametrize("order", EVENT_ORDERS)
@pytest.mark.parametrize("alike", [True, False])
def test_facts_equal_a_loop(order: str, alike: bool) -> None:
    frame = in_order(draw(60, 4, alike), order, "us").sort("user", maintain_order=True)
    users, items, times = (frame[name].to_numpy() for name in ("user", "item", "time"))
    times = times // 1000
    targets = numpy.flatnonzero(numpy.append(users[1:] != users[:-1], True))
    found = order_facts(order, times, "ms", users.astype("int32"), items.astype("int32") + 1, targets)
    keys = [numpy.float32(time / 1000) if order == "recbole" else time for time in times.tolist()]
    neighbours = tied = in_tie = repeat = 0
    directions: dict[tuple[int, int], list[bool]] = {}
    for user in range(60):
        places = numpy.flatnonzero(users == user).tolist()
        neighbours += len(places) - 1
        tied += sum(keys[one] == keys[other] for one, other in itertools.pairwise(places))
        in_tie += keys[places[-1]] == keys[places[-2]]
        repeat += items[places[-1]] in items[places[:-1]]
        for one, other in itertools.combinations(places, 2):
            if keys[one] == keys[other] and other - one <= 4 and items[one] != items[other]:
                pair = tuple(sorted((items[one], items[other])))
                directions.setdefault(pair, []).append(bool(items[one] < items[other]))
    couples = [one == other for seen in directions.values() for one, other in itertools.combinations(seen, 2)]
    assert found == {
        "name": order,
        "neighbours_that_tie": pytest.approx(tied / neighbours),
        "pairs_in_one_order": pytest.approx(numpy.mean(couples)),
        "targets_in_ties": pytest.approx(in_tie / 60),
        "targets_that_repeat": pytest.approx(repeat / 60),
    }
    if order == "exact":
        assert found["pairs_in_one_order"] > 0.9 if alike else 0.3 < found["pairs_in_one_order"] < 0.7


def test_nothing_to_compare_is_said_so() -> None:
    users, items = numpy.zeros(3, "int32"), numpy.arange(1, 4, dtype="int32")
    found = order_facts("exact", numpy.array([1, 2, 3]), "order", users, items, numpy.array([2]))
    assert found["pairs_in_one_order"] is None
    assert found["neighbours_that_tie"] == found["targets_in_ties"] == 0

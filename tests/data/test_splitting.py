import random

import numpy
import polars
import pytest

from ssm4rec.artifacts.names import TIME_TARGETS
from ssm4rec.data.event_order import in_order
from ssm4rec.data.splitting import global_time, leave_one_out
from ssm4rec.runtime.errors import InputError


def made_up_histories(seed):
    """Return lists of times, sorted within each user, with many ties."""
    chance = random.Random(seed)
    return [
        sorted(chance.randrange(1, 80) for _ in range(min(40, int(chance.paretovariate(0.7)))))
        for _ in range(chance.randrange(30, 60))
    ]


def offsets_of(histories):
    return numpy.cumsum([0, *(len(history) for history in histories)])


def test_ties_keep_the_order_of_the_file():
    chance = random.Random(5)
    rows = [(chance.randrange(20), place) for place in range(2_000)]
    frame = polars.DataFrame(rows, ["time", "place"], orient="row")
    assert in_order(frame, "exact", "order").rows() == sorted(rows, key=lambda row: row[0])


@pytest.mark.parametrize("seed", range(5))
def test_leave_one_out(seed):
    histories = made_up_histories(seed)
    split = leave_one_out(offsets_of(histories))
    for user, history in enumerate(histories):
        places = list(range(len(history)))
        found = split.train_length[user], split.validation_position[user], split.test_position[user]
        if len(history) < 3:
            assert found == (len(history), -1, -1)
        else:
            *training, validation, test = places
            assert found == (len(training), validation, test)


@pytest.mark.parametrize("time_target", TIME_TARGETS)
@pytest.mark.parametrize("seed", range(6))
def test_global_time_equals_the_definition(seed, time_target):
    histories = made_up_histories(seed)
    times = [time for history in histories for time in history]
    split = global_time(numpy.array(times), offsets_of(histories), 0.15, 0.2, time_target)
    assert split.facts["time_target"] == time_target
    validation_from, test_from = split.facts["validation_from"], split.facts["test_from"]
    ordered = sorted(times)
    assert test_from == ordered[round(len(times) * 0.8)]
    assert validation_from == ordered[round(len(times) * 0.65)]
    training, validation, test = [], [], []
    for user, history in enumerate(histories):
        places = {"training": [], "validation": [], "test": []}
        for place, time in enumerate(history):
            period = "training" if time < validation_from else "validation" if time < test_from else "test"
            places[period].append(place)
        training += [history[place] for place in range(split.train_length[user])]
        validation += [history[place] for place in places["validation"]]
        test += [history[place] for place in places["test"]]
        assert list(range(split.train_length[user])) == places["training"]
        for period, first, number in (
            ("validation", split.validation_position[user], split.validation_targets[user]),
            ("test", split.test_position[user], split.test_targets[user]),
        ):
            found = list(range(first, first + number))
            possible = places[period] if places[period] and places[period][0] > 0 else []
            assert (first == -1) == (possible == [])
            match time_target:
                case "successive":
                    assert found == possible
                case "first":
                    assert found == possible[:1]
                case "last":
                    assert found == possible[-1:]
                case "random":
                    assert len(found) == min(1, len(possible))
                    assert {*found} <= {*possible}
    assert max(training) < min(validation)
    assert max(validation) < min(test)


def test_random_targets_are_spread_evenly_and_the_same_in_every_run():
    """9,000 users with ten events in each period: each of ten places is the target of a tenth of them."""
    times, offsets = numpy.tile(numpy.arange(30), 9000), 30 * numpy.arange(9001)
    split = global_time(times, offsets, 1 / 3, 1 / 3, "random")
    for position, start in ((split.validation_position, 10), (split.test_position, 20)):
        counts = numpy.bincount(position - start, minlength=10)
        assert counts.sum() == 9000
        assert len(counts) == 10
        assert abs(counts - 900).max() < 5 * 900**0.5
    again = global_time(times, offsets, 1 / 3, 1 / 3, "random")
    assert (again.test_position == split.test_position).all()
    assert (split.test_position - 20 != split.validation_position - 10).any()


@pytest.mark.parametrize(
    ("times", "fractions", "message"),
    [
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 2], (0.2, 0.2), "share one time"),
        ([1, 2], (0.1, 0.1), "too few"),
        ([1, 2, 3], (0.5, 0.5), "below 1 together"),
        ([1, 2, 3], (0.0, 0.5), "above 0"),
    ],
)
def test_a_period_that_would_be_empty(times, fractions, message):
    with pytest.raises(InputError, match=message):
        global_time(numpy.array(times), numpy.array([0, len(times)]), *fractions)

import random

import numpy
import polars
import pytest

from ssm4rec.data.event_order import in_order
from ssm4rec.data.splitting import global_time, leave_one_out
from ssm4rec.errors import InputError


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


@pytest.mark.parametrize("seed", range(20))
def test_global_time_equals_the_definition(seed):
    histories = made_up_histories(seed)
    times = [time for history in histories for time in history]
    split = global_time(numpy.array(times), offsets_of(histories), 0.15, 0.2)
    validation_from, test_from = split.cuts["validation_from"], split.cuts["test_from"]
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
        for period, position in (("validation", split.validation_position), ("test", split.test_position)):
            first = places[period][0] if places[period] else -1
            assert position[user] == (first if first > 0 else -1)
    assert max(training) < min(validation)
    assert max(validation) < min(test)


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

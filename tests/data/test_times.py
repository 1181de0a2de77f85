import datetime
import random

import numpy
import pyarrow
import pytest

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.time_units import in_milliseconds, resolve_times
from ssm4rec.data.times import Times, parse_times
from ssm4rec.runtime.errors import InputError

UTC = datetime.UTC
MOMENTS = [
    datetime.datetime(1996, 5, 20, tzinfo=UTC) + datetime.timedelta(milliseconds=random.Random(3).randrange(10**12))
    for _ in range(100)
]
# Whole milliseconds since 1970, by integer arithmetic.
EXPECTED = [
    (moment - datetime.datetime(1970, 1, 1, tzinfo=UTC)) // datetime.timedelta(milliseconds=1) for moment in MOMENTS
]


def resolve(values, unit="auto", mode="refuse"):
    """Return the milliseconds, or order numbers, and which of the two."""
    array = values if isinstance(values, pyarrow.Array) else pyarrow.array(values)
    bad_rows = BadRows(mode)
    times, problems = parse_times(array, "t")
    good = bad_rows.good(problems, len(array), "file", 1)
    if good is not None:
        times = Times(times.values[good], times.spelling)
    found = resolve_times([times], unit, "file", "t", bad_rows)
    kind = "order" if found.unit == "order" else "ms"
    return in_milliseconds(found.values, found.unit).tolist(), kind


@pytest.mark.parametrize(
    "values",
    [
        pyarrow.array([ms / 1000 for ms in EXPECTED]),
        pyarrow.array(EXPECTED),
        pyarrow.array([ms * 1000 for ms in EXPECTED]),
        pyarrow.array([ms * 1_000_000 for ms in EXPECTED]),
        pyarrow.array([str(ms) for ms in EXPECTED]),
        pyarrow.array([str(ms / 1000) for ms in EXPECTED]),
        pyarrow.array(MOMENTS, pyarrow.timestamp("ns", "UTC")),
        pyarrow.array(MOMENTS, pyarrow.timestamp("us", "Asia/Tokyo")),
        pyarrow.array([moment.replace(tzinfo=None) for moment in MOMENTS], pyarrow.timestamp("ms")),
        pyarrow.array([moment.isoformat() for moment in MOMENTS]),
        pyarrow.array([moment.isoformat().replace("+00:00", "Z") for moment in MOMENTS]),
        pyarrow.array([moment.replace(tzinfo=None).isoformat(" ") for moment in MOMENTS]),
        pyarrow.array(
            [moment.astimezone(datetime.timezone(datetime.timedelta(hours=5.5))).isoformat() for moment in MOMENTS]
        ),
    ],
    ids=["s", "ms", "us", "ns", "ms text", "s text", "ns utc", "us tokyo", "ms naive", "iso", "iso Z", "iso blank",
         "iso +05:30"],
)  # fmt: skip
def test_every_spelling_gives_the_same_milliseconds(values):
    assert resolve(values) == (EXPECTED, "ms")


def test_dates():
    days = [datetime.date(2001, 2, 3), datetime.date(1969, 12, 31)]
    expected = [(day - datetime.date(1970, 1, 1)).days * 86_400_000 for day in days]
    assert resolve(days) == (expected, "ms")
    assert resolve([day.isoformat() for day in days]) == (expected, "ms")


def test_positions_are_order_numbers():
    assert resolve([0, 1, 2, 0]) == ([0, 1, 2, 0], "order")
    assert resolve([0.0, 1.0]) == ([0, 1], "order")
    assert resolve([978300760, 978300761], "order") == ([978300760, 978300761], "order")


def test_a_unit_that_is_given_is_used():
    assert resolve([5_000_000, 90_000_000], "s") == ([5_000_000_000, 90_000_000_000], "ms")
    assert resolve([1_500], "us") == ([1], "ms")


@pytest.mark.parametrize(
    ("values", "unit", "message"),
    [
        (["2020-01-01", "soon"], "auto", "row 2: not a time: 'soon'"),
        (["1", "2", ""], "auto", "row 3: not a time: ''"),
        (["978300760", "2020-01-01"], "auto", "row 2: not a time: '2020-01-01'"),
        (
            ["2020-01-01", "2020-01-01T00:00Z"],
            "auto",
            "row 2: not a time: '2020-01-01T00:00Z'; .*all spelled the same way",
        ),
        ([1, None], "auto", "row 2: the time is missing"),
        ([1.0, float("nan")], "auto", "row 2: not a time: nan"),
        ([True, False], "auto", "not a time: the column is of type bool"),
        ([b"x"], "auto", "row 1: not a time: 'x'"),
        ([[1]], "auto", "not a time: the column is of type list"),
        ([3.5, 4.0], "auto", "not a time: 3.5"),
        ([10**10], "auto", "not a time: 10000000000 is not a time between 1973 and 2200"),
        ([-5, 3], "auto", "not a time: -5 is negative"),
        ([1_600_000_000_000], "s", "not a time: 1600000000000 s is after the year 2200"),
        ([datetime.date(2001, 2, 3)], "s", "holds dates and times, not numbers"),
    ],
)
def test_what_is_no_time(values, unit, message):
    with pytest.raises(InputError, match=message) as raised:
        resolve(values, unit)
    assert str(raised.value).startswith(("file, column t", "column t"))


def test_batches_of_two_kinds():
    parts = [parse_times(pyarrow.array(values), "t")[0] for values in (["5"], ["2020-01-01"])]
    with pytest.raises(InputError, match="file, column t: some values are numbers and some are dates"):
        resolve_times(parts, "auto", "file", "t", BadRows())


@pytest.mark.parametrize(
    ("unit", "numbers", "named"),
    [
        ("ms", [1_600_000_000_000, 1_600_000_060, 1_600_000_120_000], "1600000060 looks like a time in s"),
        ("us", [1_600_000_000_000_000, 1_600_000_060_000], "1600000060000 looks like a time in ms"),
        ("ns", [1_600_000_000_000_000_000, 1_600_000_060], "1600000060 looks like a time in s"),
    ],
)
def test_two_units_in_a_file_are_refused_whatever_the_user_says(unit: str, numbers: list[int], named: str) -> None:
    times = Times(numpy.array(numbers), "number")
    said = rf"e\.csv, column t, row 2: {named}, others in the file like times in {unit}; write all times in one unit$"
    with pytest.raises(InputError, match=said):
        resolve_times([times], unit, "e.csv", "t", BadRows())


def test_a_file_all_in_another_unit_than_the_users_is_the_users() -> None:
    assert resolve_times([Times(numpy.array([200_000_000]), "number")], "ms", "e", "t", BadRows()).values.tolist() == [
        200_000_000_000
    ]

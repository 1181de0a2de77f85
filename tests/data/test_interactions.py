import datetime
import random
from decimal import Decimal

import pyarrow
import pytest

from ssm4rec.data.bad_rows import BadRows
from ssm4rec.data.interactions import Columns, encode
from ssm4rec.runtime.errors import InputError

COLUMNS = Columns("who", "what", "when", "liked")


def batch(**columns):
    return pyarrow.RecordBatch.from_pydict(columns)


def test_ids_survive_the_encoding_across_batches_and_files():
    chance = random.Random(4)
    rows = [(f"user {chance.randrange(300)}", chance.randrange(50), chance.randrange(10**6)) for _ in range(5_000)]

    def batches(part):
        for begin in range(0, len(part), 700):
            who, what, when = zip(*part[begin : begin + 700], strict=True)
            yield batch(who=who, what=what, when=when, liked=[None] * len(who))

    found = encode([("a", batches(rows[:2_000])), ("b", batches(rows[2_000:]))], COLUMNS, "auto", BadRows())
    frame = found.frame.select("user", "item", "time").cast({"user": str, "item": str})
    assert frame.rows() == [(who, str(what), when) for who, what, when in rows]
    assert found.frame["user"].to_physical().n_unique() == len({row[0] for row in rows})
    assert found.time_unit == "order"


def test_ratings_as_numbers_and_as_text():
    warehouse = [Decimal("4.5"), None, None, Decimal(1)]
    for liked in ([4.5, None, float("nan"), 1], ["4.5", "", "", "1"], warehouse):
        table = batch(who=list("abcd"), what=list("wxyz"), when=[1, 2, 3, 4], liked=liked)
        assert encode([("f", iter([table]))], COLUMNS, "auto", BadRows()).frame["rating"].to_list() == [
            4.5,
            None,
            None,
            1,
        ]


def test_without_ratings():
    batches = iter([batch(who=["a"], what=["b"], when=[1])])
    found = encode([("f", batches)], Columns("who", "what", "when"), "auto", BadRows())
    assert found.frame["rating"].to_list() == [None]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"who": ["a", None]}, "f, column who, row 4: the id is missing"),
        ({"what": ["a", ""]}, "f, column what, row 4: the id is missing"),
        ({"what": [1.5, 2.5]}, "f, column what, row 3: of type double; ids are texts or whole numbers: 1.5"),
        ({"when": ["1", "x"]}, "f, column when, row 4: not a time: 'x'"),
        ({"liked": ["5", "good"]}, "f, column liked, row 4: not a rating"),
        ({"liked": [[5], [4]]}, "f, column liked: of type list<.*>; ratings are numbers"),
        ({"liked": [datetime.date(2020, 1, 1)] * 2}, "f, column liked: of type date32.*; ratings are numbers"),
        ({"liked": [{"stars": 5}] * 2}, "f, column liked: of type struct<.*>; ratings are numbers"),
    ],
)
def test_a_bad_value_is_named_by_its_row_in_the_file(change, message):
    good = {"who": ["a", "b"], "what": ["x", "y"], "when": [1, 2], "liked": [1, 2]}
    with pytest.raises(InputError, match=message):
        encode([("f", iter([batch(**good), batch(**good | change)]))], COLUMNS, "auto", BadRows())


def test_no_events():
    empty = batch(who=[], what=[], when=[], liked=[]).cast(
        pyarrow.schema([("who", "string"), ("what", "string"), ("when", "int64"), ("liked", "float")])
    )
    for batches in ([], [empty]):
        with pytest.raises(InputError, match="f: no events in it"):
            encode([("f", iter(batches))], COLUMNS, "auto", BadRows())

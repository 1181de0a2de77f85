"""What is refused, in which words; and that nothing of it was counted."""

import json
from typing import Any

import pytest

from ssm4rec.serving.history import Event
from ssm4rec.serving.requests import Asked, Limits, RefusedRequestError, read_request

LIMITS = Limits(rows=3, k=20, entries=5, events=4, characters=10)


def event(sequence: Any = 1, item: Any = "i1") -> dict[str, Any]:
    return {"sequence": sequence, "item": item}


REFUSED: list[tuple[Any, str]] = [
    (None, "the rows are null: a list of objects"),
    ([], r"the rows are \[\]: a list"),
    ({"history": []}, "the rows are {'history': ..}: a list"),
    ([{"history": []}] * 4, "4 rows: at most 3 in a request, send them in parts"),
    (["i1"], "row 0: it is 'i1', not an object with a history or a user_id"),
    ([{"history": []}, {}], "row 1: it needs a history or a user_id, and not both"),
    ([{"history": [], "user_id": "u"}], "row 0: it needs a history or a user_id, and not both"),
    ([{"history": [], "kk": 2}], "row 0: there is nothing called 'kk': history, user_id, events, "),
    ([{"history": "i1"}], "row 0: history is 'i1', not a list of item ids or titles"),
    ([{"history": {"a": 1}}], "row 0: history is {'a': 1}, not a list"),
    ([{"history": [True]}], "row 0: entry 0 of history is true, neither a text nor a whole number nor null"),
    ([{"history": ["i1", 1.5]}], "row 0: entry 1 of history is 1.5, neither"),
    ([{"history": [["i1"]]}], r"row 0: entry 0 of history is \['i1'\], neither"),
    ([{"history": [1e300]}], r"row 0: entry 0 of history is 1e\+300, a floating-point number too large"),
    ([{"history": ["i"] * 6}], "row 0: history has 6 entries: at most 5"),
    ([{"history": [], "events": [event()]}], "row 0: events are of a user: name the user_id"),
    ([{"history": [], "skip_missing": True}], "row 0: skip_missing are of a user: name the user_id"),
    *[([{"history": [], "k": k}], f"row 0: k is {said}: a whole number from 1 to 20") for k, said in (
        (0, "0"), (-1, "-1"), (21, "21"), (True, "true"), (None, "null"), ("5", "'5'"), (1.0, "1.0"), ([1], r"\[1\]"),
        (10**50, "a number of more than 40 digits"),
    )],
    *[([{"history": [], "masked": masked}], "row 0: masked is .*: true or false") for masked in (None, 0, "true", [])],
    ([{"user_id": "u", "skip_missing": 1}], "row 0: skip_missing is 1: true or false"),
    ([{"history": [], "allowed": "i1"}], "row 0: allowed is 'i1', not a list"),
    ([{"history": [], "allowed": [{}]}], "row 0: entry 0 of allowed is {}, neither"),
    ([{"history": [], "excluded": None}], "row 0: excluded is null, not a list"),
    ([{"history": [], "excluded": ["i"] * 6}], "row 0: excluded has 6 entries: at most 5"),
    *[([{"user_id": user}], "row 0: user_id is .*: a text of 1 to 10 characters") for user in (
        "", "u" * 11, None, True, 1.5, ["u"], {}, 2**60,
    )],
    *[([{"history": [], name: ["i1", "\ud800"]}], rf"row 0: entry 1 of {name} is '\\ud800', half of a character: send")
      for name in ("history", "allowed", "excluded")],
    ([{"user_id": "\ud800"}], r"row 0: user_id is '\\ud800', half of a character: send UTF-8"),
    ([{"user_id": "u"}, {"user_id": "v"}, {"user_id": "u"}], "row 2: user 'u' has row 0 already, put the events into"),
    ([{"user_id": 7}, {"user_id": "7"}], "row 1: user '7' has row 0 already"),
    ([{"user_id": "u", "events": {"sequence": 1}}], "row 0: events is {'sequence': 1}, not a list of"),
    ([{"user_id": "u", "events": [event()] * 5}], "row 0: events has 5 entries: at most 4, send them in parts"),
    *[([{"user_id": "u", "events": [wrong]}], "row 0: entry 0 of events is not like") for wrong in (
        "i1", None, {}, {"sequence": 1}, {"item": "i1"}, {**event(), "time": 3}, [1, "i1"],
    )],
    *[([{"user_id": "u", "events": [event(sequence)]}],
       "row 0: sequence of entry 0 of events is .*: a whole number from 1 to 9007199254740992")
      for sequence in (0, -1, True, None, "1", 1.0, 2**53 + 1, 10**100)],
    *[([{"user_id": "u", "events": [event(1, item)]}], "row 0: item of entry 0 of events is .*: a text of 1 to 10 ")
      for item in ("", "i" * 11, None, True, 2.0, [])],
    ([{"user_id": "u", "events": [event(1, "a\udfff")]}], "row 0: item of entry 0 of events is .* half of a character"),
    ([{"user_id": "u", "events": [event(2, "a"), event(2, "b")]}], "row 0: events has two items with the sequence 2"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "sentence"), REFUSED)
def test_malformed(rows: Any, sentence: str) -> None:
    sentence = sentence.replace("{'history': ..}", r"\{'history': \[\]\}")
    with pytest.raises(RefusedRequestError, match=f"^{sentence}") as refused:
        read_request(rows, masked=True, limits=LIMITS)
    said = str(refused.value)
    assert len(said) < 250
    assert said.isprintable()


def test_a_deeply_nested_value_is_shown() -> None:
    nested: Any = "i1"
    for _ in range(900):
        nested = [nested]
    with pytest.raises(RefusedRequestError, match="row 0: k is"):
        read_request([{"history": [], "k": nested}], masked=True, limits=LIMITS)


def test_well_formed() -> None:
    document = """[
        {"history": ["i1", 2, 3.0, null, "\\ud83d\\ude00"], "k": 5, "allowed": [], "excluded": [null]},
        {"history": null, "masked": true, "allowed": null},
        {"user_id": 7, "events": [{"sequence": 2, "item": 12}, {"sequence": 1, "item": "i1"},
         {"sequence": 2, "item": "12"}], "skip_missing": true}
    ]"""
    assert read_request(json.loads(document), masked=False, limits=LIMITS) == [
        Asked(history=["i1", "2", "3", None, "😀"], k=5, masked=False, allowed=[], excluded=[None]),
        Asked(place=1, masked=True),
        Asked(place=2, user="7", events=[Event(2, "12"), Event(1, "i1")], skip_missing=True, masked=False),
    ]

"""Both versions of the protocol, without a network: what is asked reaches the engine, what is wrong gets a sentence."""

import json
from typing import Any

import pytest

from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.serving.engine import Engine
from ssm4rec.serving.protocol import Tensor, answers_tensor, predictions, refusal, rows_of_v1, rows_of_v2
from ssm4rec.serving.requests import RefusedRequestError
from ssm4rec.serving.store import DamagedUserError, MemoryStore, StoreError
from tests.serving.serving_models import assert_best, expected_scores, make_recommender

ROWS: list[dict[str, Any]] = [
    {"history": ["i3", "Film 5", "Käse 🧀"], "k": 4},
    {"user_id": "u", "events": [{"sequence": 2, "item": "i2"}]},
    {"history": []},
]


@pytest.fixture(scope="module")
def recommender() -> CatalogRecommender:
    return make_recommender("2mamba4rec")


def rows_tensor(*rows: Any, shape: list[int] | None = None, **other: Any) -> Tensor:
    return Tensor("rows", "BYTES", shape or [len(rows)], [*rows])._replace(**other)


def test_both_versions_ask_and_answer_the_same(recommender: CatalogRecommender) -> None:
    """Compared with one forward pass, and after a round trip through JSON, as a client has it."""
    engine = Engine(recommender, MemoryStore())
    first = json.loads(json.dumps(predictions(engine.answer(rows_of_v1({"instances": ROWS})))))["predictions"]
    tensor = answers_tensor(engine.answer(rows_of_v2([rows_tensor(*map(json.dumps, ROWS))])))
    assert (tensor.name, tensor.datatype, tensor.shape) == ("answers", "BYTES", [3])
    assert tensor.data
    assert [json.loads(text) for text in tensor.data] == first
    history, user, nothing = first
    assert_best(history["item_ids"], history["scores"], {
        item: score for item, score in expected_scores(recommender, ["i3", "i5"]).items() if item not in ("i3", "i5")
    }, 4)  # fmt: skip
    assert history["titles"] == [f"Film {item_id[1:]}" for item_id in history["item_ids"]]
    assert history["unknown"] == ["Käse 🧀"]
    assert (user["sequence"], user["missing"], nothing["item_ids"]) == (0, 1, [])
    assert nothing["error"] == "row 2: nothing to go by in this history, it is empty"
    assert {*history} == {
        "item_ids", "titles", "scores", "unknown", "error", "fallback", "sequence", "missing", "approximate",
    }  # fmt: skip


@pytest.mark.parametrize("data", [['{"k": 1}', '{"k": 2}'], [['{"k": 1}'], ['{"k": 2}']], [b'{"k": 1}', b'{"k": 2}']])
def test_a_column_of_rows_is_read_as_a_list_of_them(data: list[Any]) -> None:
    shape = [2, 1] if isinstance(data[0], list) else [2]
    assert rows_of_v2([rows_tensor(shape=shape, data=data)]) == [{"k": 1}, {"k": 2}]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, 'the body has no "instances": send {"instances": [row, ...]}'),
        ([1], 'the body has no "instances": send {"instances": [row, ...]}'),
        (None, 'the body has no "instances": send {"instances": [row, ...]}'),
        ({"instances": [], "k": 3}, "there is nothing called 'k' next to \"instances\""),
        (b'{"instances": ', "the body is no JSON: Expecting value at character 14"),
        (b'{"instances": "\xff"}', "the body is no JSON: it is not UTF-8"),
        (b"[" * 100_000, "the body is no JSON: a number is too long or lists are nested too deeply"),
        (b"1" * 5_000, "the body is no JSON: a number is too long or lists are nested too deeply"),
    ],
)
def test_a_malformed_body_of_v1_gets_one_sentence(body: Any, sentence: str) -> None:
    with pytest.raises(RefusedRequestError) as refused:
        rows_of_v1(body)
    assert str(refused.value) == sentence


FORM = "send one tensor rows of BYTES, shape [n], each element a row as JSON text"


@pytest.mark.parametrize(
    ("tensors", "sentence"),
    [
        ([], f"the tensors are []: {FORM}"),
        ([rows_tensor("{}", name="input-0")], f"the tensors are ['input-0']: {FORM}"),
        ([rows_tensor("{}"), rows_tensor("{}")], f"the tensors are ['rows', 'rows']: {FORM}"),
        ([rows_tensor(1.5, datatype="FP32")], f"the tensor rows has datatype 'FP32': {FORM}"),
        ([rows_tensor("{}", data=None)], f"the tensor rows has no data in its JSON: {FORM}"),
        ([rows_tensor("{}", shape=[2])], f"the tensor rows has the shape [2] and 1 elements: {FORM}"),
        ([rows_tensor("{}", shape=[-1, -1])], f"the tensor rows has the shape [-1, -1] and 1 elements: {FORM}"),
        ([rows_tensor("{}", {"k": 1})], "row 1 is {'k': 1}: send it as JSON text"),
        ([rows_tensor("{'k': 1}")],
         "row 0 is no JSON: Expecting property name enclosed in double quotes at character 1"),
    ],
)  # fmt: skip
def test_malformed_tensors_get_one_sentence(tensors: list[Tensor], sentence: str) -> None:
    with pytest.raises(RefusedRequestError) as refused:
        rows_of_v2(tensors)
    assert str(refused.value) == sentence


def test_what_the_sender_can_mend_is_400_or_409_and_what_may_pass_503() -> None:
    assert refusal(RefusedRequestError("row 0: wrong")) == (400, "row 0: wrong")
    assert refusal(StoreError("/data/users.sqlite: full")) == (
        503,
        "users cannot be read or written now: send the request again",
    )
    assert refusal(DamagedUserError("u", "too short"))[0] == 409

"""The Open Inference Protocol as far as rows and answers go, without a network and without KServe.

v1: ``{"instances": [row, ...]}``, answered by ``{"predictions": [answer, ...]}``.

v2: one tensor ``rows`` of BYTES with an element per row, the row as JSON text, answered by a tensor ``answers`` of the
same kind. Rows and answers hold lists of different lengths, which are no tensors.

Shapes: n rows.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ssm4rec.registry.entries import shown
from ssm4rec.serving.engine import Answer
from ssm4rec.serving.requests import RefusedRequestError
from ssm4rec.serving.store import DamagedUserError, StoreError

ROWS: Final = "rows"
ANSWERS: Final = "answers"
_TEXTS: Final = "BYTES"
_FORM: Final = f"send one tensor {ROWS} of {_TEXTS}, shape [n], each element a row as JSON text"


class Tensor(NamedTuple):
    """A tensor of a request or an answer of v2, as its JSON says."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: Sequence[Any] | None
    """Its elements, or lists of them as the shape says; None: they came in another form than JSON."""


def rows_of_v1(body: Any) -> Any:
    """Return the rows in a body of v1, as JSON was read or as bytes; raise RefusedRequestError if there are none."""
    if isinstance(body, bytes):  # of a request whose content type is not exactly application/json
        body = _from_json(body, "the body")
    if not isinstance(body, dict) or "instances" not in body:
        raise RefusedRequestError('the body has no "instances": send {"instances": [row, ...]}')
    if others := [name for name in body if name != "instances"]:
        raise RefusedRequestError(f'there is nothing called {shown(others[0])} next to "instances"')
    return body["instances"]


def rows_of_v2(tensors: Sequence[Tensor]) -> list[Any]:
    """Return the rows in the tensors of a request of v2; raise RefusedRequestError if they are of another form."""
    names = [tensor.name for tensor in tensors]
    if names != [ROWS]:
        raise RefusedRequestError(f"the tensors are {shown(names)}: {_FORM}")
    (tensor,) = tensors
    if tensor.datatype != _TEXTS or tensor.data is None:
        what = f"datatype {shown(tensor.datatype)}" if tensor.datatype != _TEXTS else "no data in its JSON"
        raise RefusedRequestError(f"the tensor {ROWS} has {what}: {_FORM}")
    data = [text for part in tensor.data for text in (part if isinstance(part, list) else [part])]
    if min(tensor.shape, default=0) < 0 or math.prod(tensor.shape) != len(data):
        raise RefusedRequestError(
            f"the tensor {ROWS} has the shape {shown([*tensor.shape])} and {len(data)} elements: {_FORM}"
        )
    return [_from_json(text, f"row {place}") for place, text in enumerate(data)]


def stock_of(body: bytes) -> Any:
    """Return what is in stock, None for all, as a body says: ``{"in_stock": [...]}``; raise RefusedRequestError."""
    document = _from_json(body, "the body")
    if not isinstance(document, dict) or [*document] != ["in_stock"]:
        raise RefusedRequestError('the body is not {"in_stock": [an item id or title, ...]} or {"in_stock": null}')
    return document["in_stock"]


def predictions(answers: Sequence[Answer]) -> dict[str, Any]:
    """Return the body of v1 that answers a request."""
    return {"predictions": [as_json(answer) for answer in answers]}


def answers_tensor(answers: Sequence[Answer]) -> Tensor:
    """Return the tensor of v2 that answers a request, (n,)."""
    texts = [json.dumps(as_json(answer), ensure_ascii=False, separators=(",", ":")) for answer in answers]
    return Tensor(ANSWERS, _TEXTS, [len(texts)], texts)


def as_json(answer: Answer) -> dict[str, Any]:
    """Return an answer as the object that a client sees, the same in both versions of the protocol."""
    return {
        **vars(answer.recommendations),
        "fallback": answer.fallback,
        "sequence": answer.sequence,
        "missing": answer.missing,
        "approximate": answer.approximate,
    }


def refusal(error: RefusedRequestError | StoreError) -> tuple[int, str]:
    """Return the status of HTTP and the sentence for a request that got no answer.

    Where the store is, and what is wrong with it, is for the log alone.
    """
    match error:
        case DamagedUserError():
            return 409, str(error)
        case StoreError():
            return 503, "users cannot be read or written now: send the request again"
    return 400, str(error)


def _from_json(text: Any, what: str) -> Any:
    if not isinstance(text, str | bytes):
        raise RefusedRequestError(f"{what} is {shown(text)}: send it as JSON text")
    try:
        return json.loads(text)
    except UnicodeDecodeError:
        why = "it is not UTF-8"
    except json.JSONDecodeError as error:
        why = f"{error.msg} at character {error.pos}"
    except (ValueError, RecursionError):  # a number of thousands of digits, or lists in lists in lists
        why = "a number is too long or lists are nested too deeply"
    raise RefusedRequestError(f"{what} is no JSON: {why}")

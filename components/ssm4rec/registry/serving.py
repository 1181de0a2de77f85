"""From a request to the registered model to its answer: what is taken, what is refused and in which words.

MLflow checks no more of the column ``history`` than that it may be anything: its own arrays of texts cut every entry to
one character when a null is among them (mlflow/models/utils.py, ``_enforce_array``, 3.17.2 with pandas 3), and refuse
whole numbers. The rules are in stages/register_champion/README.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Final

import numpy
import pandas
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from ssm4rec.registry.entries import MalformedEntryError, is_null, read_name, shown
from ssm4rec.registry.recommending import CatalogRecommender, Recommendations

HISTORY: Final = "history"
DEFAULT_K: Final = 10

MOST_ROWS: Final = 10_000
MOST_ENTRIES: Final = 100_000
"""Of one history."""
MOST_K: Final = 1_000
MOST_ANSWERS: Final = 1_000_000
"""Recommendations of a request, rows times k: their JSON takes some 60 bytes each."""


class RefusedRequest(MlflowException):
    """A request that is wrong as a whole; a server answers 400 with the sentence."""

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence, error_code=INVALID_PARAMETER_VALUE)
        self._sentence = sentence

    def serialize_as_json(self) -> str:
        """Return the body of the answer: without the request, which the scoring server has put before the sentence."""
        self.message = self._sentence
        return str(super().serialize_as_json())  # type: ignore[no-untyped-call]


def defaults(recommender: CatalogRecommender) -> dict[str, int | bool]:
    """Return what a request's parameters are where it names none."""
    return {"k": DEFAULT_K, "masked": recommender.masks}


def answer(
    recommender: CatalogRecommender, request: pandas.DataFrame, params: Mapping[str, Any] | None
) -> pandas.DataFrame:
    """Return a row of recommendations for each row of the request.

    A malformed history gets an ``error`` and costs no other row its answer.

    Raises:
        RefusedRequest: a parameter is wrong, there is no column ``history``, the request is too large, or every one of
            its histories is malformed.
    """
    count, masked = _parameters({**defaults(recommender), **(params or {})})
    if HISTORY not in request:
        raise RefusedRequest(
            'the request has no row with a history: send {"dataframe_records": [{"history": [item ids or titles, '
            "oldest first]}]}"
        )
    rows = len(request)
    if rows > MOST_ROWS:
        raise RefusedRequest(f"{rows} rows: at most {MOST_ROWS} in a request, send them in parts")
    if rows * count > MOST_ANSWERS:
        raise RefusedRequest(
            f"{rows} rows with k {count}: at most {MOST_ANSWERS} recommendations in a request, send it in parts"
        )
    histories, errors = _read_histories(request[HISTORY])
    if errors and len(errors) == rows:
        raise RefusedRequest(errors[0])
    answers = recommender.recommend(histories, count, masked)
    for row, error in errors.items():
        answers[row] = Recommendations(error=error)
    columns = [field.name for field in fields(Recommendations)]
    return pandas.DataFrame([asdict(one) for one in answers], columns=columns)


def _parameters(given: Mapping[str, Any]) -> tuple[int, bool]:
    count, masked = given["k"], given["masked"]
    if isinstance(count, bool) or not isinstance(count, int | numpy.integer) or not 1 <= count <= MOST_K:
        raise RefusedRequest(f"k is {shown(count)}: a whole number from 1 to {MOST_K}")
    if not isinstance(masked, bool | numpy.bool_):
        raise RefusedRequest(f"masked is {shown(masked)}: true or false")
    return int(count), bool(masked)


def _read_histories(column: pandas.Series) -> tuple[list[list[str | None]], dict[int, str]]:
    """Return the entries of every row, and by row why it cannot be read; such a row has no entries."""
    histories: list[list[str | None]] = []
    errors: dict[int, str] = {}
    for row, history in enumerate(column):
        try:
            histories.append(_entries(history))
        except MalformedEntryError as error:
            histories.append([])
            errors[row] = f"row {row}: {error}"
    return histories, errors


def _entries(history: Any) -> list[str | None]:
    if _is_null(history):
        return []
    listed = pandas.api.types.is_list_like(history, allow_sets=False) and hasattr(history, "__len__")
    if not listed or isinstance(history, Mapping):
        raise MalformedEntryError(f"history is {shown(history)}, not a list of item ids or titles")
    if len(history) > MOST_ENTRIES:
        raise MalformedEntryError(f"history has {len(history)} entries: at most {MOST_ENTRIES}, send the last ones")
    return [None if entry is pandas.NA else read_name(place, entry) for place, entry in enumerate(history)]


def _is_null(value: Any) -> bool:
    return value is pandas.NA or is_null(value)

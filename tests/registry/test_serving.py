"""The registered model asked from Python with what pandas, NumPy and Arrow hold, and models of an earlier version."""

from pathlib import Path
from typing import Any

import numpy
import pandas
import pyarrow
import pytest

from ssm4rec.artifacts.items import read_items
from ssm4rec.registry.mlflow_model import write_mlflow_model
from ssm4rec.registry.serving import RefusedRequest
from tests.datasets import write_dataset_folder, write_items
from tests.trained_models import write_random_model

pytestmark = pytest.mark.filterwarnings(  # MLflow's own: at import, and about the input example
    "ignore:.*Any type hint is inferred:UserWarning", "ignore:Operation with range:DeprecationWarning"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registered model's folder, whose item ids are 1 to 12."""
    folder = tmp_path_factory.mktemp("model")
    dataset = write_dataset_folder(
        folder / "dataset", [[(user + step) % 12 + 1 for step in range(6)] for user in range(12)]
    )
    write_items(dataset, [None] * 12, prefix="")
    model = write_random_model(dataset, folder / "model", "sasrec", 0.1)
    write_mlflow_model(folder / "champion", model, read_items(dataset), {})
    return folder / "champion"


def load(folder: Path) -> Any:
    from mlflow.pyfunc import load_model  # warns at import, which no test would be there to expect

    return load_model(str(folder))


def column(histories: Any) -> pandas.DataFrame:
    return pandas.DataFrame({"history": histories})


def arrow(kind: pyarrow.DataType) -> pandas.ArrowDtype:
    return pandas.ArrowDtype(pyarrow.list_(kind))


PLAIN = [["12", "3"], ["7"]]


@pytest.mark.parametrize(
    ("same", "unknown"),
    [
        (column([["12", None, "3"], ["7"]]), ["null"]),
        (column([numpy.array([12, 3]), numpy.array([7], dtype=numpy.uint8)]), []),
        (column([numpy.array([12, numpy.nan, 3]), numpy.array([7], dtype=numpy.float32)]), ["null"]),
        (column([numpy.array(["12", "3"]), ("7",)]), []),
        (column([pandas.Series(["12", pandas.NA, "3"]), pandas.array(["7"], dtype="string")]), ["null"]),
        (column(pandas.Series([["12", None, "3"], ["7"]], dtype=arrow(pyarrow.string()))), ["null"]),
        (column(pandas.Series([[12, None, 3], [7]], dtype=arrow(pyarrow.int64()))), ["null"]),
        (pyarrow.table({"history": [[12, None, 3], [7]]}).to_pandas(), ["null"]),
        (pandas.DataFrame({"history": PLAIN}, index=[5, 5]), []),
        (pandas.Series(PLAIN, name="history"), []),
        ([{"history": history} for history in PLAIN], []),
    ],
)
def test_containers(folder: Path, same: Any, unknown: list[str]) -> None:
    model = load(folder)
    wanted = model.predict(column(PLAIN))
    found = model.predict(same)
    assert found["item_ids"].tolist() == wanted["item_ids"].tolist()
    assert found["scores"].tolist() == wanted["scores"].tolist()
    assert found["unknown"].tolist() == [unknown, []]


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        (numpy.bool_(True), "True"),
        (numpy.float32(2**24), "1.6777216e+07, a floating-point number too large to be one whole number"),
        (b"12", "b'12'"),
        (numpy.timedelta64(3), "3 generic time units"),
        ("x" * 50, ""),
        ({"x": "y" * 50}, "{'x': '" + "y" * 33 + "..., neither"),
        pytest.param(10**5000, "a number of more than 40 digits, too long to be looked up", id="digits"),
        pytest.param([-(10**5000)], "a list that cannot be shown, neither a text", id="digits in a list"),
    ],
)
def test_entries_that_json_does_not_have(folder: Path, entry: Any, shown: str) -> None:
    answers = load(folder).predict(column([["12", entry], ["12"]]))
    assert answers["item_ids"][1]
    assert answers["error"][0].startswith(f"row 0: entry 1 of history is {shown}" if shown else "")


def test_no_rows_and_no_history(folder: Path) -> None:
    model = load(folder)
    empty = model.predict(column([]))
    assert (len(empty), list(empty)) == (0, ["item_ids", "titles", "scores", "unknown", "error"])
    with pytest.raises(RefusedRequest, match="no row with a history"):
        model.predict(numpy.array([["12", "3"]]))


EARLIER = """
from dataclasses import asdict
from pathlib import Path
from typing import Any
import pandas
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext
from ssm4rec.registry.recommending import CatalogRecommender

class RecommendationModel(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        folder = Path(context.artifacts["recommender"])
        self.recommender = CatalogRecommender.read(model_folder=folder, items_folder=folder)

    def predict(
        self, context: PythonModelContext, model_input: pandas.DataFrame, params: dict[str, Any] | None = None
    ) -> pandas.DataFrame:
        settings = {"k": 10, "masked": True, **(params or {})}
        histories = [[str(name) for name in history] for history in model_input["history"]]
        answers = self.recommender.recommend(histories, settings["k"], settings["masked"])
        return pandas.DataFrame([asdict(answer) for answer in answers])

set_model(RecommendationModel())
"""


def test_a_model_of_an_earlier_version_still_answers(folder: Path) -> None:
    """Its folder has the code of then, which calls the package of now."""
    wanted = load(folder).predict(column(PLAIN))
    code = folder / "recommendation_model.py"
    today = code.read_text()
    code.write_text(EARLIER)
    try:
        found = load(folder).predict(column(PLAIN))
    finally:
        code.write_text(today)
    pandas.testing.assert_frame_equal(found, wanted)

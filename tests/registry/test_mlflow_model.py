"""The written folder: no pickle in it, and nothing but its own requirements needed to load and ask it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest

from ssm4rec.artifacts.items import read_items
from ssm4rec.registry.mlflow_model import write_mlflow_model
from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.runtime.files import MARKER
from tests.conftest import WriteDataset
from tests.datasets import write_items
from tests.trained_models import write_random_model

pytestmark = pytest.mark.filterwarnings(  # MLflow's own: at import, and about the input example
    "ignore:.*Any type hint is inferred:UserWarning", "ignore:Operation with range:DeprecationWarning"
)

ASK = """
import json, re, sys
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from packaging.requirements import Requirement

def name_of(distribution):
    return re.sub("[-_.]+", "-", distribution).lower()

def collect(requirement, needed):
    for extra in ("", *requirement.extras):
        if (name_of(requirement.name), extra) in needed:
            continue
        needed.add((name_of(requirement.name), extra))
        try:
            found = map(Requirement, requires(requirement.name) or [])
        except PackageNotFoundError:  # an optional one, such as of another platform
            continue
        for one in found:
            if one.marker is None or one.marker.evaluate({"extra": extra}):
                collect(one, needed)

folder = sys.argv[1]
needed = set()
for line in open(f"{folder}/requirements.txt"):
    collect(Requirement(line.strip()), needed)
allowed = {name for name, _ in needed}
owners = packages_distributions()
hidden = {module for module, names in owners.items() if not allowed & {name_of(name) for name in names}}
assert {"kfp", "polars", "pytest"} <= hidden, "the test hides nothing"

class AsIfNotInstalled(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in hidden or name.startswith("ssm4rec.stages"):
            return None
        return super().find_spec(name, path, target)

sys.meta_path = [AsIfNotInstalled if finder is PathFinder else finder for finder in sys.meta_path]
import mlflow.pyfunc

model = mlflow.pyfunc.load_model(folder)
answers = model.predict([{"history": ["i1", "Film 2"]}, {"history": []}], params={"k": 3, "masked": False})
assert not [name for name in sys.modules if name.split(".")[0] in hidden or name.startswith("ssm4rec.stages")]
refused = ""
try:
    model.predict([{"history": ["i1"]}], params={"k": 0})
except mlflow.MlflowException as error:
    refused = f"{error.error_code}: {error.message}"
print(json.dumps({"answers": answers.to_dict("records"), "refused": refused}))
"""


def test_loading_needs_the_wheel_and_mlflow_and_nothing_more(write_dataset: WriteDataset, tmp_path: Path) -> None:
    dataset = write_items(write_dataset([[1, 2, 3, 4, 5, 6, 7, 8]] * 3), [f"Film {item}" for item in range(1, 9)])
    model = write_random_model(dataset, tmp_path / "model", "2mamba4rec", 0.25)
    folder = tmp_path / "champion"
    write_mlflow_model(folder, model, read_items(dataset), {"model": "2mamba4rec"})
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        MARKER, "MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "input_example.json",
        "serving_input_example.json", "recommendation_model.py",
        *(f"artifacts/recommender/{name}" for name in ("config.json", "model.safetensors", "items.parquet")),
    }  # fmt: skip
    written = (folder / "MLmodel").read_text()
    assert "python_model:" not in written  # where MLflow would name its pickle
    assert not re.search(r"[ '\"]/|file:", written), "a path of the machine that wrote it"

    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(folder)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answered = json.loads(done.stdout)
    (wanted,) = CatalogRecommender.read(model, dataset).recommend([["i1", "i2"]], 3, masked=False)
    first, second = answered["answers"]
    assert (first["item_ids"], first["titles"]) == (wanted.item_ids, wanted.titles)
    assert first["scores"] == pytest.approx(wanted.scores, abs=1e-6)
    assert second["error"] == "row 1: nothing to go by in this history, it is empty"
    assert answered["refused"] == "INVALID_PARAMETER_VALUE: k is 0: a whole number from 1 to 1000"


def test_a_folder_of_before_the_field_s_names_answers_alike() -> None:
    """Written by commit edc6c1e, with a Mamba4Rec whose parameters and recipe had other names."""
    from mlflow.pyfunc import load_model  # at the top its warning would end the collection

    folder = Path(__file__).with_name("before_names")
    expected = json.loads((folder / "answers.json").read_text(encoding="utf-8"))
    asked = pandas.DataFrame({"history": [["i1", "i2", "i3"], ["i9"]]})
    answered = load_model(str(folder / "champion")).predict(asked, {"k": 5, "masked": False})
    assert answered.to_dict("records") == expected

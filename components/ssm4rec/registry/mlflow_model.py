"""Writes a recommender as a folder that MLflow loads, serves and registers; no pickle, no tracking server needed."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm4rec import __version__
from ssm4rec.artifacts.items import Items
from ssm4rec.artifacts.names import (
    CHAMPION,
    CHAMPION_MODEL,
    ITEMS,
    MODEL_CONFIG,
    MODEL_TOKENIZER,
    MODEL_WEIGHTS,
    POPULARITY,
)
from ssm4rec.artifacts.popularity import write_popularity
from ssm4rec.artifacts.training import read_config
from ssm4rec.registry.item_index import MeasuredIndex
from ssm4rec.registry.recommending import Catalog, CatalogRecommender
from ssm4rec.runtime.files import whole_folder
from ssm4rec.training.model_folder import read_model_for, write_weights

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

CODE: Final = Path(__file__).with_name("recommendation_model.py")
_PINNED: Final = ("torch", "safetensors", "numpy", "pandas", "pyarrow")
_EXAMPLE_ITEMS: Final = 3
_RECOMMENDER: Final = Path(CHAMPION_MODEL).name
"""The artifact that is a model folder with the catalog."""


def write_mlflow_model(
    target: Path,
    model_folder: Path,
    items: Items,
    metadata: dict[str, str],
    popularity: Mapping[str, float] | None = None,
    index: MeasuredIndex | None = None,
) -> None:
    """Write the MLflow model of a recommender, whole or not at all; ``metadata`` is what MLmodel says about it.

    ``items`` are those of the data, which may be followed by some added since the training; ``popularity`` are scores
    by item id, by which a server answers those of whom nothing is known; ``index`` holds the items.

    Raises:
        InputError: model or items are missing or damaged, or are of two data sets.
    """
    stored, items = read_model_for(items, model_folder)
    catalog = Catalog(items.ids, items.titles)
    names = [title or item_id for title, item_id in zip(catalog.titles, catalog.item_ids, strict=True)]
    # Copying a few files needs no progress bar in a stage's log.
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # It takes seconds to import: --help and refusals do not wait for it.
    import mlflow.pyfunc
    import pandas

    from ssm4rec.registry.serving import HISTORY, defaults

    params = defaults(CatalogRecommender(stored.model, catalog))
    with tempfile.TemporaryDirectory() as temporary, whole_folder(target, "register_champion") as partial:
        recommender = Path(temporary) / _RECOMMENDER
        recommender.mkdir()
        files = [model_folder / MODEL_CONFIG, model_folder / MODEL_WEIGHTS]
        if (tokenizer := model_folder / MODEL_TOKENIZER).exists():
            files.append(tokenizer)
        for source in files:
            shutil.copyfile(source, recommender / source.name)
        items.write(recommender / ITEMS)
        if popularity:
            write_popularity(recommender / POPULARITY, popularity)
        if stored.config != read_config(model_folder):  # of other items
            write_weights(recommender, stored.model, stored.config)
        if index:
            index.write(recommender)
        mlflow.pyfunc.save_model(
            partial,
            python_model=CODE,
            artifacts={_RECOMMENDER: str(recommender)},
            signature=_signature(params),
            input_example=(pandas.DataFrame({HISTORY: [names[:_EXAMPLE_ITEMS]]}), params),
            # All of them: MLflow would otherwise find them by loading the model in another process.
            pip_requirements=[
                f"ssm4rec[train]=={__version__}",
                f"mlflow=={mlflow.__version__}",
                # As an index knows it: 2.13.0 of 2.13.0+cpu.
                *(f"{name}=={version(name).partition('+')[0]}" for name in _PINNED),
            ],
            metadata=metadata,
        )
        _drop_local_paths(partial)


def _drop_local_paths(folder: Path) -> None:
    """Name code and artifact in MLmodel by where they are in the folder, not by where they were on this machine.

    MLflow reads both from the folder (mlflow/pyfunc/model.py, ``_load_context_model_and_signature``).
    """
    from mlflow.models import Model

    model = Model.load(folder)
    flavor = model.flavors["python_function"]
    for artifact in flavor["artifacts"].values():
        artifact["uri"] = artifact["path"]
    flavor["model_code_path"] = CODE.name
    model.save(folder / CHAMPION)


def _signature(params: dict[str, int | bool]) -> "ModelSignature":
    from mlflow.models import ModelSignature
    from mlflow.types import DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Array, ColSpec

    from ssm4rec.registry.serving import HISTORY

    anything = AnyType()  # type: ignore[no-untyped-call]
    texts = Array(DataType.string)
    kinds = {"k": DataType.long, "masked": DataType.boolean}
    return ModelSignature(
        # Of any type: registry/serving.py says why. Not required: a missing one costs its row only.
        inputs=Schema([ColSpec(anything, HISTORY, required=False)]),
        outputs=Schema(
            [
                ColSpec(texts, "item_ids"),
                ColSpec(texts, "titles"),
                ColSpec(Array(DataType.double), "scores"),
                ColSpec(texts, "unknown"),
                ColSpec(DataType.string, "error"),
            ]
        ),
        params=ParamSchema([ParamSpec(name, kinds[name], default) for name, default in params.items()]),
    )

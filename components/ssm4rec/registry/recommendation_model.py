"""The code of the registered model, which MLflow copies into its folder ("models from code") and runs to load it.

Input, a row a user: ``history``, a list of item ids or titles, oldest first. Parameters: ``k`` (default 10), how many
recommendations; ``masked`` (default true), leave out the history's own items. Output, a row a user: ``item_ids``,
``titles``, ``scores``, ``unknown``, ``error``, described in ``registry/recommending.py``, which does the work: a model
that was registered long ago runs this copy on the ssm4rec that its requirements name.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ssm4rec.registry.recommending import CatalogRecommender


class RecommendationModel(PythonModel):
    """Answers requests with the recommender in the artifact ``recommender``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read model and catalog."""
        folder = Path(context.artifacts["recommender"])
        self.recommender = CatalogRecommender.read(model_folder=folder, items_folder=folder)

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pandas.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pandas.DataFrame:
        """Return a row of recommendations for each row of ``model_input``.

        Raises:
            MlflowException: ``k`` is less than 1; a server answers 400.
        """
        settings = {"k": 10, "masked": True, **(params or {})}
        if settings["k"] < 1:
            raise MlflowException.invalid_parameter_value(f"k is {settings['k']}: 1 or more")
        histories = [[str(name) for name in history] for history in model_input["history"]]
        answers = self.recommender.recommend(histories, settings["k"], settings["masked"])
        return pandas.DataFrame([asdict(answer) for answer in answers])


set_model(RecommendationModel())

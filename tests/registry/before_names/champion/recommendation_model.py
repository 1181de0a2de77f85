"""The code of the registered model, which MLflow copies into its folder ("models from code") and runs to load it.

Input, one row per user: ``history``, a list of item ids or titles, oldest first. Parameters: ``k`` (default 10), how
many recommendations; ``masked``, leave out the history's own items (default: true, but for a model with a repeat term).
Output, one row per user: ``item_ids``, ``titles``, ``scores``, ``unknown``, ``error``, described in
``registry/recommending.py``. What is taken and refused is decided in ``registry/serving.py``. A model that was
registered long ago runs this copy on the ssm4rec that its requirements name.
"""

from pathlib import Path
from typing import Any

import pandas
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ssm4rec.registry.recommending import CatalogRecommender
from ssm4rec.registry.serving import answer


class RecommendationModel(PythonModel):
    """Answers requests with the recommender in the artifact ``recommender``."""

    def load_context(self, context: PythonModelContext) -> None:
        """Read model and catalog."""
        folder = Path(context.artifacts["recommender"])
        self.recommender = CatalogRecommender.read(model_folder=folder, items_folder=folder)

    def predict(
        self,
        context: PythonModelContext,
        model_input: pandas.DataFrame,
        params: dict[str, Any] | None = None,
    ) -> pandas.DataFrame:
        """Return a row of recommendations for each row of ``model_input``.

        Raises:
            RefusedRequest: the request is wrong as a whole; a server answers 400 with one sentence.
        """
        return answer(self.recommender, model_input, params)


set_model(RecommendationModel())

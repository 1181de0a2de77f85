"""The experiment that the runs are in, and the page of it that people want: test results, the best first.

MLflow 3.17.2 opens a page of traces of language models unless told otherwise, and keeps a view (filter, order, columns)
that someone shared as a tag of the experiment, which the page's address names.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from mlflow import MlflowClient

SQLITE: Final = "sqlite:///"
ARTIFACTS: Final = "mlflow-artifacts"
"""The folder of the artifacts, next to an SQLite store."""

_VIEW: Final = {
    "searchFilter": "tags.stage = 'evaluate' and tags.split = 'test'",
    "orderByKey": "metrics.`unmasked/ndcg_at_10`",
    "orderByAsc": False,
    "selectedColumns": [
        *(f"params.`{name}`" for name in ("model", "dataset", "splitting", "event_order", "seed", "profile")),
        *(f"metrics.`{name}`" for name in ("unmasked/ndcg_at_10", "masked/ndcg_at_10")),
    ],
}
_VIEW_TAG: Final = "mlflow.sharedViewState.ssm4rec"


def experiment_name() -> str:
    """Return the name of the experiment that new runs are in."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", "ssm4rec")


def experiment_of(client: "MlflowClient") -> str:
    """Return the id of the experiment that new runs are in; it is made if it is new."""
    if experiment_id := os.environ.get("MLFLOW_EXPERIMENT_ID", ""):
        return experiment_id
    store = Path(client.tracking_uri.removeprefix(SQLITE)).absolute()
    location = store.with_name(ARTIFACTS).as_uri() if client.tracking_uri.startswith(SQLITE) else None
    found = client.get_experiment_by_name(experiment_name())
    return found.experiment_id if found else client.create_experiment(experiment_name(), location)


def keep_view(client: "MlflowClient", experiment_id: str) -> None:
    """See to it that :func:`page_address` shows the view."""
    view = json.dumps(_VIEW)
    if client.get_experiment(experiment_id).tags.get(_VIEW_TAG) != view:
        client.set_experiment_tag(experiment_id, _VIEW_TAG, view)


def page_address(server: str, experiment_id: str) -> str:
    """Return the address of the page, for a browser."""
    return f"{server}/#/experiments/{experiment_id}/runs?workflowType=machine_learning&viewStateShareKey=ssm4rec"

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

_RUN_NAME, _CREATED, _DURATION = "attributes.`Run Name`", "runDateAndNestInfo", "duration"
"""Columns that MLflow shows whatever is selected, as its table calls them."""

_WIDTHS: Final = {
    _RUN_NAME: 220,  # model, seed and splitting: "2mamba4rec s0 global-time" is not cut
    _CREATED: 46,  # its mark of how the run ended
    "params.`dataset`": 78,
    "metrics.`unmasked/ndcg_at_10`": 142,
    "metrics.`unmasked/hit_at_10`": 128,
    "metrics.`masked/ndcg_at_10`": 132,
    "params.`model`": 98,
    "params.`seed`": 52,
    "params.`splitting`": 110,
    "params.`profile`": 70,
    _DURATION: 80,
}
"""Of each column in pixels, in their order: those up to HIT@10 are seen at once in a window 1280 wide, also next to
the assistant that MLflow opens once for each browser."""

_VIEW: Final = {
    "searchFilter": "tags.stage = 'evaluate' and tags.split = 'test'",
    "orderByKey": "metrics.`unmasked/ndcg_at_10`",
    "orderByAsc": False,
    "selectedColumns": [name for name in _WIDTHS if name.startswith(("params.", "metrics."))],
    "columnOrder": list(_WIDTHS),
    "columnWidths": _WIDTHS,
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

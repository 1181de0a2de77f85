"""The store of runs at an address: its client, what its refusals are, and a new SQLite store."""

import functools
import logging
import os
import sqlite3
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import whole_file
from ssm4rec.tracking.experiment import ARTIFACTS, SQLITE

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

_PASSING_STATUS: Final = {408, 425, 429}
_MOVES: Final = (
    "update experiments set artifact_location = replace(artifact_location, ?, ?)",
    "update runs set artifact_uri = replace(artifact_uri, ?, ?)",
    "update model_versions set source = replace(source, ?, ?)",
    "update model_versions set storage_location = replace(storage_location, ?, ?)",
)
"""Where a store says in which folder artifacts are."""
_MAKING_SECONDS: Final = 60.0
"""After so long without a change, nobody is making an SQLite store any more; it takes 5 s."""


@functools.cache
def store_client(uri: str) -> "MlflowClient":
    """Return the client of a store; one of SQLite is made if it is new."""
    # One attempt at a time, each soon over: delivery.py knows when to ask again.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    # MLflow would tell its makers how it is used.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # At the end of a run MLflow prints where it stands, with the password of the address (3.17.2,
    # mlflow/tracking/_tracking_service/client.py:785). Ours has been said without it.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    from mlflow import MlflowClient

    # It prints a traceback for each attempt that finds the database locked.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    if uri.startswith(SQLITE):
        make_store(path := Path(uri.removeprefix(SQLITE)).absolute())
        _find_artifacts(path)
    return MlflowClient(uri)


def make_store(path: Path) -> None:
    """Make a new SQLite store whole or not at all: MLflow never opens one again whose making was cut off.

    One that MLflow alone, or an earlier version, left so is made again: it has neither an experiment, so no run, nor a
    registered model.

    Raises:
        InputError: another process is making it.
    """
    from mlflow import MlflowClient

    with suppress(FileExistsError):
        _refuse_whole(path)
        with whole_file(path) as partial:
            MlflowClient(f"{SQLITE}{partial}").search_experiments(max_results=1)
            _refuse_whole(path)  # another process may have been faster


def _refuse_whole(path: Path) -> None:
    if not path.exists() or not path.stat().st_size:
        return
    if not _is_cut_off(path):
        raise FileExistsError(path)
    if time.time() - path.stat().st_mtime < _MAKING_SECONDS:
        raise InputError(f"{path}: another process is making this store; if none is, try again in a minute")


def _is_cut_off(path: Path) -> bool:
    """Tell whether the making of a store was cut off: its first table is there, its default experiment is not.

    A store whose experiments ``mlflow gc`` has removed may still have registered models.
    """
    with closing(sqlite3.connect(path, timeout=1.0)) as connection:
        try:
            if connection.execute("select exists(select 1 from experiments)").fetchone()[0]:
                return False
            registry = connection.execute("select exists(select 1 from sqlite_master where name = 'registered_models')")
            return not (registry.fetchone()[0] and connection.execute("select 1 from registered_models").fetchone())
        except sqlite3.Error:  # locked, or not a store: MLflow says what is wrong
            return False


def _find_artifacts(path: Path) -> None:
    """Have a store that was moved, or copied, together with the folder of its artifacts find them there.

    MLflow keeps no relative paths (3.17.2, mlflow/store/tracking/sqlalchemy_store.py:615).
    """
    here = path.with_name(ARTIFACTS)
    with suppress(sqlite3.Error), closing(sqlite3.connect(path, timeout=1.0)) as connection, connection:
        for (before,) in connection.execute("select artifact_location from experiments").fetchall():
            moved = before.startswith("file:") and before.endswith(f"/{ARTIFACTS}") and before != here.as_uri()
            for move in _MOVES if moved and here.is_dir() else ():
                connection.execute(move, (before, here.as_uri()))


def is_refusal(error: Exception) -> bool:
    """Tell whether MLflow will answer so however often it is asked.

    A 404 that is not of MLflow's own making is: a proxy answers so while the server behind it starts.
    """
    from mlflow.exceptions import InvalidUrlException, MlflowException

    if not isinstance(error, MlflowException):
        return isinstance(error, (ImportError, FileNotFoundError))  # of MLflow itself, or of a file to keep
    status: int = error.get_http_status_code()  # type: ignore[no-untyped-call]
    passing = status in _PASSING_STATUS or error.error_code == "ENDPOINT_NOT_FOUND"
    return isinstance(error, InvalidUrlException) or (400 <= status < 500 and not passing)

"""New MLflow stores, as copies of one: MLflow takes one or two seconds to make the tables of each."""

import atexit
import functools
import shutil
import tempfile
import warnings
from pathlib import Path

from ssm4rec.tracking.store import make_store


def new_store(path: Path) -> str:
    """Put a new store at a path and return its address."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(_template(), path)
    return f"sqlite:///{path}"


@functools.cache
def _template() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="ssm4rec-store-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow's own making
        make_store(folder / "mlflow.db")
    return folder / "mlflow.db"

"""Make the SQLite store of runs, if it is new: ``python -m ssm4rec.tracking runs/mlflow.db``.

``make mlflow`` does so before it starts the server: one that is ended while it makes a store leaves half of it.
"""

from pathlib import Path

from ssm4rec.settings.command_line import StageParser, run_stage
from ssm4rec.tracking.store import make_store

if __name__ == "__main__":
    parser = StageParser("ssm4rec.tracking", "Make an SQLite store of MLflow runs, whole or not at all.")
    parser.add_argument("store", type=Path, help="file of the store")
    run_stage(parser, lambda options: make_store(options.store.absolute()))

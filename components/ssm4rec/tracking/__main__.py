"""Make the SQLite store of runs, if it is new: ``python -m ssm4rec.tracking runs/mlflow.db``.

``make mlflow`` does so before it starts the server: one that is ended while it makes a store leaves half of it.
"""

import argparse
from pathlib import Path

from ssm4rec.settings.command_line import StageParser, run_stage
from ssm4rec.tracking.store import make_store


def build_parser() -> StageParser:
    """Return the command line."""
    parser = StageParser("ssm4rec.tracking", "Make an SQLite store of MLflow runs, whole or not at all.")
    parser.add_argument("store", type=Path, help="file of the store")
    return parser


def run(options: argparse.Namespace) -> None:
    """Make the store."""
    make_store(options.store.absolute())


if __name__ == "__main__":
    run_stage(build_parser(), run)

"""Serve a champion by the Open Inference Protocol: ``python -m ssm4rec.serving MODEL --help``."""

import argparse
import importlib.util
import os
import re
import socket
from contextlib import closing
from pathlib import Path
from typing import Final

from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.errors import InputError
from ssm4rec.serving.sqlite_store import SQLiteStore
from ssm4rec.serving.store import MemoryStore, StateStore
from ssm4rec.settings.command_line import StageParser, label, naming, run_stage, whole_number
from ssm4rec.settings.outputs import input_path

_MEMORY: Final = "memory"
_LOOPBACK: Final = "127.0.0.1"
_AUTO: Final = "auto"
_EXACT: Final = "exact"


def build_parser() -> StageParser:
    """Return the command line."""
    parser = StageParser("ssm4rec.serving", "Answer histories and users over HTTP with a trained recommender.")
    parser.add_argument("model", type=input_path, help="folder of register_champion or train_recommender")
    parser.add_argument("--name", type=label, default="ssm4rec", help="of the model: /v2/models/NAME/infer")
    parser.add_argument("--host", default=_LOOPBACK, help="address to listen on; 0.0.0.0: all, which a container needs")
    parser.add_argument("--port", type=whole_number(1, 65535), default=8080, help="to listen on")
    parser.add_argument(
        "--store", default=_MEMORY, help="where users are kept: memory, an SQLite file, or redis://host:6379/0"
    )
    parser.add_argument(
        "--popularity",
        type=input_path,
        help="Parquet file of item_id and score, by which users are answered of whom nothing is known; "
        "left out: popularity.parquet in the model's folder",
    )
    parser.add_argument(
        "--search",
        choices=(_AUTO, _EXACT),
        default=_AUTO,
        help="auto: by the index of the items where register_champion has built one, exact: score all items",
    )
    parser.add_argument("--max-body", type=whole_number(1), default=8 * 2**20, help="most bytes of a request")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--threads",
        type=whole_number(1, 64),
        default=cores,
        help="large requests answered at a time; small ones are answered together, by two more threads",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Read the model, open the store, serve until a signal, close the store."""
    if not options.name:
        raise InputError("--name: empty; the paths of the model have it")
    if importlib.util.find_spec("kserve") is None:
        raise InputError("kserve is not installed here; `make serve MODEL=...` makes an environment that has it")
    _refuse_taken(options.host, options.port)
    # These take seconds to import: --help and refusals do not wait for them.
    import torch

    from ssm4rec.serving.champion import read_champion
    from ssm4rec.serving.engine import Engine
    from ssm4rec.serving.server import serve

    torch.set_num_threads(1)  # a request has too little to share among cores: several requests have
    with closing(open_store(options.store)) as store:
        champion = read_champion(options.model, options.popularity, exact=options.search == _EXACT)
        index = champion.index.index if champion.index else None
        serve(
            champion,
            Engine(champion.recommender, store, champion.popularity, index),
            options.name,
            host=options.host,
            port=options.port,
            max_body=options.max_body,
            threads=options.threads,
        )


def open_store(where: str) -> StateStore:
    """Open the store that a flag names, with the password of Redis in the environment; raise InputError otherwise."""
    if where.lower() == _MEMORY:
        return MemoryStore()
    with naming("--store"):
        return _shared(where) if re.match(r"[A-Za-z]+:/", where) else SQLiteStore(Path(where))


def _shared(address: str) -> StateStore:
    if not address.startswith(("redis://", "rediss://", "unix://")):
        raise InputError(f"{public_text(address)}: write memory, the path of an SQLite file, or redis://host:6379/0")
    if importlib.util.find_spec("redis") is None:
        raise InputError("the package redis is not installed here; name an SQLite file")
    from ssm4rec.serving.redis_store import RedisStore

    return RedisStore(address, os.environ.get("REDIS_PASSWORD"))


def _refuse_taken(host: str, port: int) -> None:
    """Raise InputError if the address cannot be listened to: uvicorn would say so in many lines."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
            tried.bind(address)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not the name of a host"
        raise InputError(f"--host {host} --port {port}: {why}; choose another") from None


if __name__ == "__main__":
    run_stage(build_parser(), run)

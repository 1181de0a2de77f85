"""The port of MLflow's pages on this machine."""

import socket
from typing import Final

MLFLOW_PORT: Final = 5000
_LAST_PORT: Final = 65535


def taken(port: int) -> str:
    """Return why this machine's port cannot be listened to, "" if it can."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            return str(error.strerror)
    return ""


def free_port(port: int = MLFLOW_PORT) -> int:
    """Return the first port from one on that can be listened to now."""
    return next((one for one in range(port, _LAST_PORT + 1) if not taken(one)), port)

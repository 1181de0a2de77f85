"""A real Redis for tests, on the loopback interface: Debian's package redis-server."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest


def free_port() -> int:
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def redis_server(folder: Path, *flags: str, port: int = 0) -> Iterator[str]:
    """Yield the address of a server that keeps what it keeps in a folder, with flags such as ``--maxmemory 2mb``."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here: apt-get install redis-server")
    port = port or free_port()
    own = ("--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "")
    with (folder / "redis.log").open("w") as log:
        running = subprocess.Popen([program, *own, *flags], stdout=log, stderr=log)
    try:
        for _ in range(600):
            if _answers(port):
                break
            assert running.poll() is None, (folder / "redis.log").read_text()
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        running.terminate()
        running.wait()


def _answers(port: int) -> bool:
    """Whether the server listens and has read its files; one that wants a password says so, which will do."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as tried:
            tried.sendall(b"PING\r\n")
            return tried.recv(100).startswith((b"+PONG", b"-NOAUTH"))
    except ConnectionError:
        return False

"""Data of a study, and a stand-in for a KFP API server that keeps what the real kfp client sends."""

import json
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

CREATED = "2026-01-01T00:00:00Z"
ANSWERS = {
    "/apis/v2beta1/experiments": {"experiment_id": "e1", "display_name": "ssm4rec", "created_at": CREATED},
    "/apis/v2beta1/runs": {"run_id": "r1", "display_name": "ssm4rec", "state": "PENDING", "created_at": CREATED},
    "/apis/v2beta1/recurringruns": {"recurring_run_id": "s1", "display_name": "ssm4rec", "created_at": CREATED},
    "/apis/v2beta1/runs/r1": {"run_id": "r1", "display_name": "ssm4rec", "state": "PENDING", "created_at": CREATED},
}


class Recorder(ThreadingHTTPServer):
    """Answers as a KFP API server would and keeps what was posted, and which addresses were read."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: dict[str, Any] = dict(ANSWERS)
        self.posted: dict[str, Any] = {}
        self.read: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: Recorder

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.read.append(path)
        # A list has the address that a new one is posted to.
        self._answer(self.server.answers.get(path if path.endswith("/r1") else f"{path}?list", {}))

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"] or 0))
        self.server.posted[self.path] = json.loads(body or b"{}")
        self._answer(self.server.answers.get(self.path, {}))

    def _answer(self, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def server() -> Iterator[Recorder]:
    with Recorder() as recorder:
        thread = threading.Thread(target=recorder.serve_forever)
        thread.start()
        yield recorder
        recorder.shutdown()
        thread.join()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive of ML-100K's layout: 30 users who walk round a circle of 20 films."""
    return write_archive(tmp_path / "ml-100k.zip")


def write_archive(path: Path, pace: int = 1) -> Path:
    """Write the archive; with a ``pace`` of -1 everybody walks the other way, in as many bytes."""
    rows = [
        f"{user}\t{(user + step) % 20 + 1}\t{step % 5 + 1}\t{880000100 + pace * step}"
        for user in range(1, 31)
        for step in range(8 + user % 9)
    ]
    films = [
        f"{film}|Film {film} (1995)|01-Jan-1995||http://example.org|" + "|".join("0" * 19) for film in range(1, 21)
    ]
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("ml-100k/u.data", "\n".join(rows) + "\n")
        file.writestr("ml-100k/u.item", "\n".join(films).encode("latin-1") + b"\n")
    return path

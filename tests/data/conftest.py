"""Writers of files in the published layouts, and servers that misbehave."""

import contextlib
import gzip
import json
import re
import threading
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest


def write_archive(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


@dataclass
class FileServer:
    """Serves ``files`` (path -> bytes) over HTTP as told, and notes what it was asked.

    Attributes:
        faults: what to do with the next GETs, in order: a status number, or "cut" to drop the connection midway.
        ranges: whether it honours Range.
        versions: whether it sends an ETag.
        requests: (method, path, Range header or "") of each request.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[int | str] = field(default_factory=list)
    ranges: bool = True
    versions: bool = True
    requests: list[tuple[str, str, str]] = field(default_factory=list)
    address: str = ""

    def asked_ranges(self) -> list[str]:
        return [asked for method, _, asked in self.requests if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    told: FileServer

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        told, path = self.told, self.path.partition("?")[0]
        asked = self.headers.get("Range", "")
        told.requests.append((self.command, path, asked))
        fault = told.faults.pop(0) if with_body and told.faults else None
        if isinstance(fault, int):
            self.send_error(fault)
            return
        if path not in told.files:
            self.send_error(404)
            return
        content = told.files[path]
        version = f'"{hash(content)}"'
        if told.versions and self.headers.get("If-Match", version) not in (version, "*"):
            self.send_error(412)
            return
        span = re.fullmatch(r"bytes=(\d+)-", asked)
        begin = int(span[1]) if span and told.ranges else 0
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        if told.versions:
            self.send_header("ETag", version)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if with_body:
            # The client may hang up: it only looked at the headers.
            with contextlib.suppress(ConnectionError):
                self.send_body(content, begin, fault)

    def send_body(self, content, begin, fault):
        end = (begin + len(content)) // 2 if fault == "cut" else len(content)
        self.wfile.write(content[begin:end])

    def log_message(self, *arguments):
        """Keep the test's output clean."""


@pytest.fixture
def server():
    """Yield a FileServer that listens on the loopback interface."""
    told = FileServer()
    handler = type("ToldHandler", (Handler,), {"told": told})
    listening = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    told.address = f"http://127.0.0.1:{listening.server_address[1]}"
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield told
    listening.shutdown()
    listening.server_close()
    thread.join()


@pytest.fixture
def archive():
    return write_archive


@pytest.fixture
def jsonl():
    return write_jsonl

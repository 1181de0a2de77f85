"""A secret in an address reaches nothing that is printed, logged or kept."""

import base64
import functools
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from ssm4rec.stages.prepare_data.__main__ import run
from tests.conftest import Refusal
from tests.mlflow_server import mlflow_server
from tests.pipelines.studies import run_study

SECRET = "pl4nted"
USER = f"me:{SECRET}"


class _Guarded(SimpleHTTPRequestHandler):
    """Gives files to who knows the password and the signature."""

    def do_GET(self) -> None:
        known = self.headers.get("authorization") == f"Basic {base64.b64encode(USER.encode()).decode()}"
        if known and f"signature={SECRET}" in self.path:
            super().do_GET()
        else:
            self.send_error(403)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """Yield the host and port of a server of the files in ``served``."""
    (tmp_path / "served").mkdir()
    handler = functools.partial(_Guarded, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_study_keeps_no_secret(guarded: str, tmp_path: Path, whole: bool) -> None:
    """Only prepare_data is given the addresses, so most of it shows in a study whose training fails, too."""
    rows = [f"u{user},i{(user + step) % 20},{1000 + step}" for user in range(30) for step in range(8 + user % 9)]
    (tmp_path / "served/events.csv").write_text("user_id,item_id,timestamp\n" + "\n".join(rows) + "\n")
    titles = [f"i{item},Film {item}" for item in range(20)]
    (tmp_path / "served/items.csv").write_text("item_id,title\n" + "\n".join(titles) + "\n")
    address = f"http://{USER}@{guarded}/{{}}.csv?signature={SECRET}"
    flags = ["--dataset", "events", "--source", address.format("events"), "--items-source", address.format("items")]
    flags += ["--models", "sasrec", "--k-core", "2", "--cache-dir", str(tmp_path / "downloads")]
    flags += [] if whole else ["--overrides", "training.learning_rate=1e30"]
    done = run_study(tmp_path, *flags, variables={"HF_TOKEN": f"hf_{SECRET}{SECRET}"})
    assert done.returncode == (0 if whole else 2), done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert f"http://{guarded}/events.csv" in (tmp_path / "study/dataset/manifest.json").read_text()
    found = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert found == []


@pytest.mark.parametrize(
    "address",
    [
        f"ftp://{USER}@example.invalid/events.csv",
        f"http://{USER}@127.0.0.1:99999/events.csv",
        f"http://{USER}@127.0.0.1:{SECRET}/events.csv",
        f"http://me:half/{SECRET}@127.0.0.1/events.csv",
        f"http://127.0.0.1:1/events.csv?X-Amz-Signature={SECRET}",
        f"s3://KEY:{SECRET}@bucket/events.csv",
        f"{USER}@127.0.0.1/events.csv",
        f"http://[::1/{USER}@events.csv",
    ],
)
@pytest.mark.parametrize("flag", ["--source", "--items-source"])
def test_an_error_line_shows_no_secret(address: str, flag: str, tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "events.csv").write_text("user_id,item_id,timestamp\na,b,1\na,c,2\na,d,3\n")
    flags = {"--source": str(tmp_path / "events.csv"), flag: address}
    given = [part for pair in flags.items() for part in pair]
    line = refusal(
        run, "--dataset", "events", "--name", "own", *given, "--cache-dir", tmp_path / "cache", "--k-core", "0",
        "--dataset-dir", tmp_path / "dataset",
    )  # fmt: skip
    assert SECRET not in line


def test_a_wrong_password_and_a_closed_bucket(guarded: str, tmp_path: Path, refusal: Refusal) -> None:
    flags = ("--dataset", "events", "--dataset-dir", tmp_path / "dataset", "--cache-dir", tmp_path / "cache")
    line = refusal(run, *flags, "--source", f"http://you:{SECRET}@{guarded}/events.csv?signature={SECRET}")
    assert "403" in line
    assert SECRET not in line


def test_keys_in_an_address_of_a_store_are_refused_before_anything_runs(archive: Path, tmp_path: Path) -> None:
    failed = run_study(tmp_path, "--source", str(archive), "--artifacts", f"s3://KEY:{SECRET}@bucket/x")
    assert failed.returncode == 2
    assert "keys do not belong in an address" in failed.stderr
    assert SECRET not in failed.stdout + failed.stderr
    assert not (tmp_path / "study").exists()


class _Login(BaseHTTPRequestHandler):
    """Passes to an MLflow server what knows the password."""

    server: "_LoginServer"

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("authorization") != f"Basic {base64.b64encode(USER.encode()).decode()}":
            self.send_error(401)
            return
        kept = {"content-type": self.headers["content-type"]} if "content-type" in self.headers else {}
        answer = requests.request(self.command, self.server.behind + self.path, data=body, headers=kept, timeout=60)
        self.server.passed += 1
        self.send_response(answer.status_code)
        self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
        self.send_header("content-length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Print nothing."""


class _LoginServer(ThreadingHTTPServer):
    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Login)
        self.behind, self.passed = behind, 0


@pytest.mark.slow
def test_a_study_keeps_no_password_of_mlflow(archive: Path, tmp_path: Path) -> None:
    """A whole study, its champion registered, at a real MLflow server behind a login."""
    with mlflow_server(tmp_path / "mlflow") as behind, _LoginServer(behind) as login:
        thread = threading.Thread(target=login.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            variables = {"MLFLOW_TRACKING_URI": f"http://{USER}@127.0.0.1:{login.server_address[1]}"}
            flags = ["--source", str(archive), "--any-checksum", "true", "--models", "sasrec", "--k-core", "2"]
            done = run_study(tmp_path, *flags, variables=variables)
        finally:
            login.shutdown()
            thread.join()
        runs = MlflowClient(behind).search_runs([MlflowClient(behind).get_experiment_by_name("ssm4rec").experiment_id])
    assert done.returncode == 0, done.stderr
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert len(runs) == 8
    assert login.passed > 50
    assert f"MLflow   http://127.0.0.1:{login.server_address[1]}/#/experiments/1/runs?workflowType=" in done.stdout
    assert SECRET not in done.stdout + done.stderr
    found = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert found == []

"""Looking after a run: whose output is shown, what is posted to stop one, where the report is fetched from."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipelines.operate import ROLE, build_parser, run
from ssm4rec.runtime.errors import InputError
from tests.pipelines.conftest import Recorder
from tests.seaweed import ObjectStore

KUBECTL = """#!/bin/sh
# Lists the pods of a file, and writes down whose logs were asked for.
case "$1" in
get) cat "$(dirname "$0")/pods.json" ;;
logs) echo "$*" >> "$(dirname "$0")/asked"; echo "[pod/$4] a line" ;;
esac
"""


def pod(name: str, role: str, phase: str, begun: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": begun, "annotations": {ROLE: role}},
        "status": {"phase": phase},
    }


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a kubectl that answers from a file, first on the path."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(KUBECTL)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return program.parent


def test_logs_are_those_of_the_stages(kubectl: Path) -> None:
    """KFP's drivers have pods, too, and say nothing of use; the default study has 76, of which kubectl follows 20."""
    pods = [pod(f"driver-{number}", "driver", "Succeeded", "2026-01-01T00:00:00Z") for number in range(38)]
    pods += [
        pod("report", "launcher", "Pending", "2026-01-01T00:09:00Z"),
        pod("train", "launcher", "Running", "2026-01-01T00:02:00Z"),
        pod("prepare", "launcher", "Succeeded", "2026-01-01T00:01:00Z"),
        {"metadata": {"name": "bare", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": {"phase": "Running"}},
    ]
    (kubectl / "pods.json").write_text(json.dumps({"items": pods}))
    run(build_parser().parse_args(["logs", "--run", "r1"]))
    asked = (kubectl / "asked").read_text().splitlines()
    assert asked == [
        "logs -n kubeflow prepare -c main --prefix",
        "logs -n kubeflow train -c main --prefix --follow",
    ]


def test_pods_that_are_gone_leave_their_logs_elsewhere(kubectl: Path) -> None:
    (kubectl / "pods.json").write_text(json.dumps({"items": []}))
    with pytest.raises(InputError, match=r"r1: no pod of a stage.*an hour after a run's end.*executor-logs"):
        run(build_parser().parse_args(["logs", "--run", "r1"]))


def test_what_kubectl_says_last_is_what_is_wrong(kubectl: Path) -> None:
    (kubectl / "kubectl").write_text("#!/bin/sh\necho E1 memcache.go >&2\necho was the port refused? >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"^kubectl could not list the pods: was the port refused\?$"):
        run(build_parser().parse_args(["logs", "--run", "r1"]))


def test_logs_that_are_followed_end_with_make_logs(kubectl: Path) -> None:
    (kubectl / "pods.json").write_text(json.dumps({"items": [pod("train", "launcher", "Running", "2026")]}))
    (kubectl / "kubectl").write_text(
        KUBECTL.replace('; echo "[pod/$4] a line"', "; echo $$ > ${0%/*}/pid; exec sleep 60")
    )
    with subprocess.Popen([sys.executable, "-m", "pipelines.operate", "logs", "--run", "r1"]) as program:
        pid = kubectl / "pid"
        wait_for(lambda: pid.exists() and pid.read_text().strip())
        program.terminate()
        assert program.wait(20) == 143
    wait_for(lambda: not Path("/proc", pid.read_text().strip()).exists())


def wait_for(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.parametrize("text", ["a b", "r1,app=x", "r1/../../experiments/e1", "-x"])
def test_what_is_not_an_id_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=f"^--run '{text}' is not the id of a run; make status lists them"):
        build_parser().parse_args(["stop", f"--run={text}"])


@pytest.mark.parametrize("arguments", [["stop"], ["logs"], ["logs", "--run="], ["report"], ["status", "--run="]])
def test_a_missing_id_is_named_as_make_names_it(arguments: list[str]) -> None:
    with pytest.raises(InputError, match=r"^--run \(make: RUN=\) is missing: give the id of a run; make status lists "):
        run(build_parser().parse_args(arguments))


def node(name: str, state: str, *children: str) -> dict[str, Any]:
    return {
        "run_id": "r1",
        "display_name": name,
        "state": state,
        "child_tasks": [{"pod_name": one} for one in children],
    }


def ended(server: Recorder, state: str, nodes: list[dict[str, Any]], **more: Any) -> None:
    """Print the status of a run that the server describes so."""
    server.answers["/apis/v2beta1/runs/r1"] = {
        "run_id": "r1",
        "display_name": "ml-1m quick",
        "state": state,
        "created_at": "2026-01-01T00:00:00Z",
        "finished_at": "2026-01-01T01:02:03.5Z",
        "run_details": {"task_details": nodes},
        **more,
    }
    run(build_parser().parse_args(["status", "--run", "r1", "--endpoint", f"http://127.0.0.1:{server.server_port}"]))


def test_status_names_the_tasks_that_failed_among_all_nodes(
    server: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    """KFP reports every node of Argo's tree by its display name, without an error of its own (2.17.0).

    backend/src/common/util/workflow.go:906 and apiserver/server/api_converter.go:1908; a task's node holds its attempts
    (v2/compiler/argocompiler/container.go:414), a loop's its iterations (dag.go:437 and :471). Argo's retries wrap
    every node in another, whose attempts have a number.
    """
    failed = [
        "comparative-study-x7k2p", "root", "for-loop-1", "for-loop-1-iterations(1:1)", "iteration-item",
        "train-recommender", "executor", "executor(0)", "executor(1)", "for-loop-2", "train-recommender", "executor(0)",
        "train-recommender(0)", "for-loop-3-driver", "for-loop-3-driver(0)",
    ]  # fmt: skip
    nodes = [node(name, "FAILED") for name in failed]
    nodes += [node("train-recommender", "SUCCEEDED"), node("report", "SKIPPED"), node("report-driver", "SUCCEEDED")]
    more = {
        "error": {"code": 13, "message": "child\n 'x' failed"},
        "plugins_output": {"mlflow": {"entries": {"run_url": {"value": "http://localhost:5000/#/e/1"}}}},
    }
    ended(server, "FAILED", nodes, **more)
    assert capsys.readouterr().out.splitlines() == [
        "r1 (ml-1m quick): FAILED after 1:02:03",
        "  KFP says: child 'x' failed",
        "  failed: for-loop-3-driver, train-recommender (2 times) (make logs RUN=r1)",
        "  mlflow: http://localhost:5000/#/e/1",
    ]


def test_status_of_runs_that_were_stopped_go_on_and_succeeded(
    server: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    """KFP calls a stopped run failed at its end (2.17.0): the API server reports CANCELING until then.

    backend/src/common/util/workflow.go:314 and apiserver/resource/resource_manager.go:1535.
    """
    history = [{"state": state} for state in ("PENDING", "RUNNING", "CANCELING", "FAILED")]
    ended(server, "FAILED", [node("root", "FAILED"), node("train-recommender", "FAILED")], state_history=history)
    assert capsys.readouterr().out.splitlines() == [
        "r1 (ml-1m quick): FAILED, stopped after 1:02:03",
        "  running when it was stopped: train-recommender (make logs RUN=r1)",
    ]
    ended(server, "RUNNING", [node("executor(0)", "FAILED")], finished_at="1970-01-01T00:00:00Z")
    assert capsys.readouterr().out == "r1 (ml-1m quick): RUNNING\n"
    ended(server, "SUCCEEDED", [node("report", "SUCCEEDED")])
    assert capsys.readouterr().out.splitlines()[1:] == ["  its report: make report RUN=r1"]


def test_status_without_a_run_lists_them(server: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["status", "--endpoint", f"http://127.0.0.1:{server.server_port}"]
    run(build_parser().parse_args(asked))
    assert capsys.readouterr().out == "no run yet; make submit starts one\n"
    created = "2026-01-01T00:00:00Z"
    server.answers["/apis/v2beta1/runs?list"] = {
        "runs": [
            {"run_id": "r2", "display_name": "ml-1m quick", "state": "RUNNING", "created_at": created},
            {"run_id": "r1", "display_name": "shop", "state": "SUCCEEDED", "created_at": created},
        ]
    }
    run(build_parser().parse_args(asked))
    assert capsys.readouterr().out.splitlines() == [
        "r2  2026-01-01 00:00  RUNNING    ml-1m quick",
        "r1  2026-01-01 00:00  SUCCEEDED  shop",
    ]


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server and yield its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


class _NotKFP(BaseHTTPRequestHandler):
    """Answers 501, as it knows no method."""

    def log_message(self, *args: object) -> None:
        """Print nothing."""


def test_a_server_that_is_not_kfp_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("kfp.client.client.time", SimpleNamespace(sleep=lambda _: None))  # between its five attempts
    said = "^http://127.0.0.1:[0-9]+: what answers there is not KFP; is the right port forwarded"
    with answering(_NotKFP) as address, pytest.raises(InputError, match=said):
        run(build_parser().parse_args(["status", "--endpoint", address]))
    assert (capsys.readouterr().err, caplog.records) == ("", [])


class _WebPages(_NotKFP):
    """Answers 200 to everything, as a proxy does that shows its login page."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"<!doctype html>\n<title>Sign in</title>", "begins with '<!doctype html> <title>Sign in</title>'"),
        (b"[]", r"begins with '\[\]'"),
        (b"\x1f\x8b\x08", "is not text"),
    ],
)
@pytest.mark.parametrize("asked", [["status"], ["status", "--run=r1"], ["stop", "--run=r1"]])
@pytest.mark.parametrize("namespace", ["", "mine"])
def test_a_server_of_web_pages_is_not_kfp(
    body: bytes, told: str, asked: list[str], namespace: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Of a namespace that is given, kfp's client asks nothing of the server at first."""
    monkeypatch.setenv("KFP_NAMESPACE", namespace)
    monkeypatch.setattr(_WebPages, "body", body)
    with answering(_WebPages) as address:
        said = rf"^{address}: what answers there is not KFP \(it {told}\); is the right port forwarded, and, if it is a"
        with pytest.raises(InputError, match=said):
            run(build_parser().parse_args([*asked, "--endpoint", address]))
    assert capsys.readouterr().out == ""


def test_stop_ends_the_run(server: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    run(build_parser().parse_args(["stop", "--run", "r1", "--endpoint", address]))
    assert "/apis/v2beta1/runs/r1:terminate" in server.posted
    assert "r1: told to stop" in capsys.readouterr().out


def test_the_report_comes_from_the_bucket(object_store: ObjectStore, tmp_path: Path) -> None:
    client, folder = object_store.client(), "v2/artifacts/comparative-study-recommenders"
    for key in (f"{folder}/r2/report/salt/report_html", f"{folder}/r1/report/salt/report_markdown"):
        client.put_object(Bucket=object_store.bucket, Key=key, Body=b"another")
    client.put_object(Bucket=object_store.bucket, Key=f"{folder}/r1/report/salt/report_html", Body=b"<!doctype html>")
    flags = ["--bucket", object_store.bucket, "--out", str(tmp_path / "report.html")]
    run(build_parser().parse_args(["report", "--run", "r1", *flags]))
    assert (tmp_path / "report.html").read_text() == "<!doctype html>"
    with pytest.raises(InputError, match="no report of run r3; has it ended"):
        run(build_parser().parse_args(["report", "--run", "r3", *flags]))

"""The server itself on loopback: KServe's own client, malformed requests, metrics, and its end under a request.

It needs the environment that ``make serve`` makes; with a slow start, so the tests share one server.
"""

import http.client
import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ssm4rec.serving.champion import Champion, read_champion
from ssm4rec.serving.engine import Engine
from ssm4rec.serving.reading import owner_of
from ssm4rec.serving.sqlite_store import SQLiteStore
from ssm4rec.serving.store import MemoryStore
from tests.seaweed import free_ports
from tests.serving.serving_models import write_champion

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-serve" / "bin" / "python"
LIMIT = 100_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON.exists(), reason="no environment with KServe: `make serve MODEL=...` makes it"),
]


class Server(NamedTuple):
    """A running server."""

    process: subprocess.Popen[str]
    port: int
    store: Path
    champion: Champion

    @property
    def version(self) -> str:
        """As the server shows it."""
        return owner_of(self.champion.recommender)[:12]

    def ask(self, path: str, body: bytes | None, method: str = "POST", **headers: str) -> tuple[int, str]:
        """Return status and text of an answer; by default the body is JSON."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, {"content-type": "application/json", **named})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def metric(self, name: str) -> float:
        status, text = self.ask("/metrics", None, "GET")
        assert status == 200
        found = re.search(rf"(?m)^{re.escape(name)} (\S+)$", text)
        return float(found[1]) if found else 0.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("served")
    model = write_champion(folder)
    (port,) = free_ports(1)
    command = [PYTHON, "-m", "ssm4rec.serving", model, "--port", port, "--store", folder / "users.sqlite"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "components"), "OMP_NUM_THREADS": "1"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*map(str, command), "--max-body", str(LIMIT)], cwd=folder, env=environment, stderr=log, text=True
        )
    started = Server(process, port, folder / "users.sqlite", read_champion(model, None))
    try:
        for _ in range(600):
            assert process.poll() is None, (folder / "log").read_text()
            try:
                if started.ask("/v2/health/ready", None, "GET")[0] == 200:
                    break
            except OSError:
                time.sleep(0.5)
        yield started
    finally:
        process.kill()
        process.wait()
    for line in (folder / "log").read_text().splitlines():
        assert {"time", "level", "logger", "message"} <= {*json.loads(line)}, line


def test_kserves_client_gets_what_the_engine_answers(server: Server) -> None:
    rows: list[dict[str, Any]] = [
        {"history": ["i3", "Film 5", "nothing"], "k": 4},
        {"history": []},
        {"user_id": "client", "events": [{"sequence": 1, "item": "i2"}]},
    ]
    command = [PYTHON, Path(__file__).with_name("kserve_client.py"), f"http://127.0.0.1:{server.port}"]
    done = subprocess.run([*command, *map(json.dumps, rows)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["live"], found["ready"]) == (True, True)
    assert found["v1"] == {"predictions": found["v2"]}
    engine = Engine(server.champion.recommender, MemoryStore(), server.champion.popularity)
    for answer, expected in zip(found["v2"], engine.answer(rows), strict=True):
        assert answer["item_ids"] == expected.recommendations.item_ids
        assert answer["scores"] == pytest.approx(expected.recommendations.scores, abs=1e-5)
        assert (answer["fallback"], answer["sequence"]) == (expected.fallback, expected.sequence)
    assert found["v2"][1]["fallback"] == "row 1: nothing to go by in this history, it is empty"
    assert found["output"] == ["answers", "BYTES", [3], "42"]
    facts = server.champion.facts
    named = ",".join(f'{name}="{facts[name]}"' for name in sorted(facts))
    assert server.metric(f'ssm4rec_model_info{{{named},version="{server.version}"}}') == 1
    assert server.metric("ssm4rec_model_age_seconds") == pytest.approx(time.time() - server.champion.made, abs=60)
    assert server.metric('ssm4rec_user_rows_total{state="computed"}') == 1
    assert server.metric('ssm4rec_user_rows_total{state="resumed"}') == 1
    assert server.metric('ssm4rec_requests_total{protocol="v2",status="200"}') == 1
    assert server.metric('ssm4rec_request_seconds_count{protocol="v1"}') == 1


V1, V2 = "/v1/models/ssm4rec:predict", "/v2/models/ssm4rec/infer"
GOOD = json.dumps({"instances": [{"history": ["i1", "i2"], "k": 3}]}).encode()
GOOD_V2 = json.dumps(
    {"inputs": [{"name": "rows", "shape": [1], "datatype": "BYTES", "data": ['{"history": ["i1"]}']}]}
).encode()


def malformed() -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Paths, bodies and headers that are wrong."""
    rows: list[Any] = [
        None, 1, "x", [], [[]], [1], [{}], [{"history": 1}], [{"history": [True]}], [{"user_id": ""}],
        [{"history": [], "k": 0}], [{"history": [], "k": 10**9}], [{"history": [], "kk": 1}], [{"user_id": "a" * 201}],
        [{"user_id": "u", "events": [{"sequence": 0, "item": "i1"}]}], [{"user_id": "u", "history": []}],
    ]  # fmt: skip
    for one in rows:
        yield V1, json.dumps({"instances": one}).encode(), {}
        yield V2, GOOD_V2.replace(b'[\\"i1\\"]', json.dumps(json.dumps(one))[1:-1].encode()), {}
    for path, good in ((V1, GOOD), (V2, GOOD_V2)):
        for body in (b"", b"{}", b"[]", b"null", b"[" * 5_000, b"1" * 5_000, b"\xff\xfe", b'{"a": NaN}', good + b"}"):
            yield path, body, {}
        yield path, good[: len(good) // 2], {"content_type": "text/plain"}
        yield path, good[1:], {"content_type": "application/octet-stream"}
        yield path, good, {"inference_header_content_length": "nonsense"}
        yield path, b" " * (LIMIT + 1), {}
        yield path.replace("ssm4rec", "other"), good, {}
        yield path.replace("models", "model"), good, {}
    yield V1, GOOD, {"ce_specversion": "1.0", "ce_id": "1"}
    yield "/v2/repository/models/ssm4rec/unload", b"", {}
    for shape, datatype in (([2], "BYTES"), ([-1], "BYTES"), ([1], "FP32"), ([1, 1, 7], "BYTES"), ([], "INT64")):
        tensor = {"name": "rows", "shape": shape, "datatype": datatype, "data": ["{}", 1]}
        yield V2, json.dumps({"inputs": [tensor]}).encode(), {}
    drawn = random.Random(0)
    for _ in range(950):  # a byte that cannot be there
        path, good = drawn.choice([(V1, GOOD), (V2, GOOD_V2)])
        place = drawn.randrange(len(good))
        yield path, good[:place] + drawn.choice([b"\x00", b"\xff", b'"', b"}"]) + good[place + 1 :], {}


def test_malformed_requests_get_one_sentence_each_and_the_server_lives(server: Server) -> None:
    statuses = []
    for path, body, headers in malformed():
        status, text = server.ask(path, body, **headers)
        statuses.append(status)
        told = (path, body[:200], headers, status, text[:300])
        if status == 200:  # a byte changed within a name
            assert path in (V1, V2), told
            assert "item_ids" in text, told
            continue
        assert 400 <= status < 500, told
        sentence = json.loads(text)["error"]
        assert sentence, told
        assert len(sentence) < 400, told
        assert "\n" not in sentence, told
        assert "Traceback" not in sentence, told
    assert len(statuses) >= 1000
    assert statuses.count(200) < 400
    assert {400, 404, 413} <= {*statuses}
    assert server.ask(V1, GOOD)[0] == 200
    status, text = server.ask(V2, GOOD_V2)
    assert (status, json.loads(text)["model_version"]) == (200, server.version)
    assert server.ask("/v2/health/live", None, "GET")[0] == 200
    assert server.metric('ssm4rec_requests_total{protocol="v1",status="413"}') == 1


def test_a_body_in_pieces_is_not_larger_either(server: Server) -> None:
    """Without a content length, as HTTP 1.1 may send it."""
    pieces = (b" " * 10_000 for _ in range(20))
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
        connection.request("POST", V1, pieces, {"content-type": "application/json"}, encode_chunked=True)
        answer = connection.getresponse()
        assert (answer.status, "send rows in parts" in json.load(answer)["error"]) == (413, True)


def test_only_what_is_in_stock_is_recommended(server: Server) -> None:
    status, text = server.ask("/v1/models/ssm4rec/stock", b'{"in_stock": ["i7", "Film 9", "none"]}', "PUT")
    assert (status, json.loads(text)) == (200, {"unknown": ["none"]})
    _, text = server.ask(V1, GOOD)
    assert {*json.loads(text)["predictions"][0]["item_ids"]} == {"i7", "i9"}
    assert server.ask("/v1/models/ssm4rec/stock", b"[1]", "PUT")[0] == 400
    assert server.ask("/v1/models/ssm4rec/stock", b'{"in_stock": null}', "PUT") == (200, '{"unknown":[]}')
    _, text = server.ask(V1, GOOD)
    assert len(json.loads(text)["predictions"][0]["item_ids"]) == 3


def test_a_user_can_be_forgotten(server: Server) -> None:
    row = {"user_id": "gone/\u00fc", "events": [{"sequence": 1, "item": "i2"}]}
    body = json.dumps({"instances": [row]}).encode()
    assert json.loads(server.ask(V1, body)[1])["predictions"][0]["sequence"] == 1
    assert server.ask("/v1/models/ssm4rec/users/gone/%C3%BC", None, "DELETE") == (204, "")
    row["events"] = []
    body = json.dumps({"instances": [row]}).encode()
    assert json.loads(server.ask(V1, body)[1])["predictions"][0]["sequence"] == 0


def test_sigterm_lets_a_request_finish(server: Server) -> None:
    """The last test: the server is gone after it, and the event that it acknowledged is in the store."""
    rows: list[dict[str, Any]] = [{"history": ["i1", "i2"] * 3, "k": 60} for _ in range(900)]
    rows.append({"user_id": "last", "events": [{"sequence": 1, "item": "i2"}]})
    found: list[tuple[int, str]] = []
    asking = threading.Thread(target=lambda: found.append(server.ask(V1, json.dumps({"instances": rows}).encode())))
    asking.start()
    while server.metric("ssm4rec_requests_in_progress") < 1 and not found:
        time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)
    asking.join()
    assert server.process.wait(60) == 0
    ((status, text),) = found
    assert (status, len(json.loads(text)["predictions"])) == (200, 901)
    store = SQLiteStore(server.store)
    assert store.read(["last"])["last"].sequence == 1
    store.close()

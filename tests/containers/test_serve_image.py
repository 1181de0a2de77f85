"""The image of the server, run as ``manifests/serving`` runs it: what it answers, and what it leaves."""

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ssm4rec import __version__
from ssm4rec.serving.champion import Champion, read_champion
from ssm4rec.serving.engine import Answer, Engine
from ssm4rec.serving.store import MemoryStore
from ssm4rec.stages.register_champion.__main__ import run as register_champion
from ssm4rec.stages.register_champion.settings import Settings
from tests.containers import images
from tests.containers.engine import Engine as DockerEngine
from tests.containers.images import ROOT
from tests.containers.planted import Planted
from tests.containers.servers import wait
from tests.datasets import write_dataset_folder, write_items
from tests.seaweed import free_ports
from tests.trained_models import write_random_model

pytestmark = [
    pytest.mark.containers,
    pytest.mark.filterwarnings(  # MLflow's own, at import and about the input example
        "ignore:.*Any type hint is inferred:UserWarning", "ignore:Operation with range:DeprecationWarning"
    ),
]

GRACE = 30
"""Seconds that requests have to end after SIGTERM; a pod has 40 of them."""
ROWS: list[dict[str, Any]] = [{"history": ["3", "Film 5", "nothing"]}, {"history": []}]


class Server(NamedTuple):
    """A server in a container."""

    engine: DockerEngine
    container: str
    port: int

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and document of an answer."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            headers = {"content-type": "application/json"}
            connection.request("GET" if body is None else "POST", path, body and json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")

    def predict(self, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        status, document = self.ask("/v1/models/ssm4rec:predict", {"instances": rows})
        assert status == 200, document
        predictions: list[dict[str, Any]] = document["predictions"]
        return predictions

    def infer(self, *rows: dict[str, Any]) -> list[dict[str, Any]]:
        tensor = {"name": "rows", "shape": [len(rows)], "datatype": "BYTES", "data": [*map(json.dumps, rows)]}
        status, document = self.ask("/v2/models/ssm4rec/infer", {"inputs": [tensor]})
        assert status == 200, document
        return [json.loads(text) for text in document["outputs"][0]["data"]]

    def is_ready(self) -> bool:
        state = self.engine.docker("inspect", "--format", "{{.State.Running}}", self.container).strip()
        assert state == "true", self.engine.docker("logs", self.container)
        try:
            return self.ask("/v2/health/ready")[0] == 200
        except OSError:
            return False

    def stop(self) -> tuple[int, float]:
        """Ask it to end, as Kubernetes does; return its status and how many seconds that took."""
        began = time.monotonic()
        self.engine.docker("stop", "--time", str(GRACE + 10), self.container)
        status = self.engine.docker("inspect", "--format", "{{.State.ExitCode}}", self.container)
        return int(status), time.monotonic() - began


@pytest.fixture(scope="module")
def champion(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What register_champion writes of a small model with random weights; items 1 to 60, called Film 1 to Film 60."""
    folder = tmp_path_factory.mktemp("champion")
    sequences = [[(start + step) % 60 + 1 for step in range(20)] for start in range(60)]
    titles: Sequence[str] = [f"Film {item}" for item in range(1, 61)]
    dataset = write_items(write_dataset_folder(folder / "dataset", sequences), [*titles], prefix="")
    model = write_random_model(dataset, folder / "model", "2mamba4rec", 0.2)
    flags = ["--dataset-dir", dataset, "--models", model, "--champion-dir", folder / "champion"]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        told = [*map(str, flags), "--registration", str(folder / "registration.json")]
        register_champion(Settings.parser().parse_args(told))
    return folder / "champion"


@pytest.fixture(scope="module")
def read(champion: Path) -> Champion:
    return read_champion(champion, None)


@contextmanager
def running(engine: DockerEngine, image: str, champion: Path, *further: str, store: str = "memory") -> Iterator[Server]:
    """Start a server, wait until it is ready, and yield it."""
    [port] = free_ports(1)
    command = ["python", "-m", "ssm4rec.serving", "/cache/champion", "--name=ssm4rec", f"--port={port}"]
    flags = ("--network=host", f"--volume={champion}:/cache/champion:ro", *further)
    with images.container(engine, image, *command, f"--store={store}", flags=flags) as found:
        server = Server(engine, found, port)
        began = time.monotonic()
        wait(server.is_ready, 120, "the server does not become ready")
        print(f"ready in {time.monotonic() - began:.1f} s")
        yield server


def test_size_and_settings(engine: DockerEngine, serve_image: str) -> None:
    gigabytes = images.size(engine, serve_image)
    print(f"{serve_image}: {gigabytes:.2f} GB")
    assert gigabytes < 2
    [found] = json.loads(engine.docker("image", "inspect", serve_image))
    assert found["Config"]["User"] == "10001:10001"
    assert not found["Config"]["Entrypoint"]
    assert found["Config"]["Labels"]["org.opencontainers.image.title"] == "ssm4rec-serve"
    lines = images.in_image(engine, serve_image).splitlines()
    assert lines[0] == f"ssm4rec {__version__}"
    assert "  selective_scan on cpu: ssm4rec.ops.selective_scan_native" in lines


def test_packages_are_the_pinned_ones(engine: DockerEngine, serve_image: str) -> None:
    found = images.check_packages(engine, serve_image, ROOT / "images" / "serve" / "requirements.txt")
    assert {"kserve", "torch"} <= found
    assert not {"kfp", "mlflow-skinny", "pytest"} & found


def test_no_secrets_and_nothing_of_this_machine(engine: DockerEngine, serve_image: str, planted: Planted) -> None:
    images.check_secrets(engine, serve_image, planted)


def check(found: list[dict[str, Any]], expected: list[Answer]) -> None:
    for answer, wanted in zip(found, expected, strict=True):
        assert len(answer["item_ids"]) == 10
        assert answer["item_ids"] == wanted.recommendations.item_ids
        assert answer["titles"] == wanted.recommendations.titles
        assert answer["scores"] == pytest.approx(wanted.recommendations.scores, abs=1e-5)
        assert (answer["fallback"], answer["unknown"]) == (wanted.fallback, wanted.recommendations.unknown)


@pytest.mark.parametrize("user", ["10001:10001", "54321:54321"])
def test_answers_as_the_engine_does(
    engine: DockerEngine, serve_image: str, champion: Path, read: Champion, user: str
) -> None:
    """As the image's user, and as one whom nobody knows, such as OpenShift's."""
    expected = Engine(read.recommender, MemoryStore(), read.popularity).answer(ROWS)
    with running(engine, serve_image, champion, f"--user={user}") as server:
        check(server.predict(*ROWS), expected)
        check(server.infer(*ROWS), expected)
        assert server.ask("/v2/models/ssm4rec/ready")[0] == 200
        status, seconds = server.stop()
        assert (status, seconds < GRACE) == (0, True)


def test_events_outlive_the_container(
    engine: DockerEngine, serve_image: str, champion: Path, read: Champion, tmp_path: Path
) -> None:
    """On a volume, which the pod's user may write; the containers have nothing else in common."""
    volume = tmp_path / "users"
    volume.mkdir()
    volume.chmod(0o777)
    store = MemoryStore()
    local = Engine(read.recommender, store, read.popularity)
    first = {"user_id": "u7", "events": [{"sequence": 1, "item": "3"}, {"sequence": 2, "item": "Film 5"}]}
    again = {"user_id": "u7", "events": [{"sequence": 3, "item": "8"}]}
    mounted = f"--volume={volume}:/users"
    with running(engine, serve_image, champion, mounted, store="/users/users.sqlite") as server:
        found = server.predict(first)
        check(found, local.answer([first]))
        assert found[0]["sequence"] == 2
        status, seconds = server.stop()
        print(f"ended in {seconds:.1f} s")
        assert (status, seconds < GRACE) == (0, True)
        assert "Traceback" not in engine.docker("logs", server.container)
    assert (volume / "users.sqlite").stat().st_uid == 10001
    with running(engine, serve_image, champion, mounted, store="/users/users.sqlite") as server:
        found = server.infer(again)
        check(found, local.answer([again]))
        assert (found[0]["sequence"], found[0]["missing"]) == (3, None)


def test_what_cannot_start_says_so(engine: DockerEngine, serve_image: str, champion: Path) -> None:
    """A store on the root file system, which cannot be written."""
    command = ["python", "-m", "ssm4rec.serving", "/cache/champion", "--store=/users.sqlite"]
    done = engine.try_docker(
        "run", "--rm", *images.ALONE, f"--volume={champion}:/cache/champion:ro", serve_image, *command
    )
    assert done.returncode == 2
    assert "/users.sqlite" in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stdout

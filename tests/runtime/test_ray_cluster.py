"""A Ray that is busy, or an address that is not one's: said in a line, and for a limited time."""

import itertools
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ssm4rec.runtime import ray_cluster as module
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.ray_cluster import names_cluster, ray_cluster, result, room

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra ray, is not installed")

WAY_OUT = "use --engine polars"


class RayStandIn(ModuleType):
    """A Ray that runs, whose cores others hold until some seconds have passed; its time passes only by waiting."""

    def __init__(self, busy_seconds: float, resources: dict[str, float]) -> None:
        super().__init__("ray")
        self.left, self.resources = busy_seconds, resources
        self.wanted: dict[str, int] = {}
        self.cancelled: list[str] = []
        self.exceptions = ModuleType("ray.exceptions")
        for name in ("RayError", "RayTaskError"):
            setattr(self.exceptions, name, type(name, (Exception,), {}))

    def is_initialized(self) -> bool:
        return True

    def remote(self, **wanted: int) -> Callable[[Any], Any]:
        self.wanted = wanted
        return lambda function: type("Function", (), {"remote": staticmethod(lambda: "kept")})

    def wait(self, kept: list[str], timeout: float) -> tuple[list[str], list[str]]:
        self.left -= timeout
        return (kept, []) if self.left <= 0 else ([], kept)

    def get(self, kept: str) -> str:
        assert self.left <= 0
        return kept

    def cancel(self, kept: str) -> None:
        self.cancelled.append(kept)

    def cluster_resources(self) -> dict[str, float]:
        return self.resources

    def available_resources(self) -> dict[str, float]:
        return {"GPU": 1.0} if "GPU" in self.resources else {}  # Ray leaves out what is all taken


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Callable[..., RayStandIn]:
    def stand_in(busy_seconds: float, **resources: float) -> RayStandIn:
        found = RayStandIn(busy_seconds, resources)
        monkeypatch.setitem(sys.modules, "ray", found)
        monkeypatch.setitem(sys.modules, "ray.exceptions", found.exceptions)
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        return found

    return stand_in


def test_a_free_core_is_not_worth_a_line(ray: Callable[..., RayStandIn], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    found = ray(0, CPU=8.0)
    with ray_cluster(2, 0, WAY_OUT):
        pass
    assert found.wanted == {"num_cpus": 1, "num_gpus": 0}
    assert caplog.messages == []


def test_a_core_that_becomes_free_is_waited_for(
    ray: Callable[..., RayStandIn], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = ray(400, CPU=8.0, GPU=2.0)
    with ray_cluster(2, 1, WAY_OUT):
        pass
    assert found.wanted == {"num_cpus": 1, "num_gpus": 1}
    assert caplog.messages == [
        "Ray has no free core with a GPU (0 of 8 cores, 1 of 2 GPUs): waiting up to 600 seconds; `ray status` says "
        "what holds them",
        "Ray has a free core with a GPU",
    ]


@pytest.mark.parametrize(("resources", "free"), [({"CPU": 8.0}, "0 of 8 cores"), ({}, "it has no cores")])
def test_a_core_that_does_not_become_free_is_one_line(
    ray: Callable[..., RayStandIn], resources: dict[str, float], free: str
) -> None:
    found = ray(700, **resources)
    said = (
        rf"^Ray had no free core for 600 seconds \({free}\); end what holds them \(`ray status` lists it\), add "
        f"nodes, or {WAY_OUT}$"
    )
    with pytest.raises(InputError, match=said), ray_cluster(2, 0, WAY_OUT):
        pass
    assert found.cancelled == ["kept"]  # else it would take a core later


def test_there_is_room_for_as_many_processes_as_cores_or_gpus(ray: Callable[..., RayStandIn]) -> None:
    """A process on a GPU has a core, too; a cluster that counts none yet is waited for by one process."""
    ray(0, CPU=8.0, GPU=2.0)
    assert (room(), room(1)) == (8, 2)
    ray(0, CPU=3.0, GPU=4.0)
    assert room(1) == 3
    ray(0)
    assert (room(), room(1)) == (1, 1)


def test_local_is_this_machine_and_its_folder_has_a_whole_path(
    ray: Callable[..., RayStandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray starts here if RAY_ADDRESS is "local" (2.60, ``ray.init``), and waits half a minute in a relative folder."""
    ray(0)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert not names_cluster()
    monkeypatch.setenv("RAY_TMPDIR", "here")
    with pytest.raises(InputError, match=r"^RAY_TMPDIR here: .*, or use --engine polars$"), ray_cluster(2, 0, WAY_OUT):
        pass
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")  # its folder is its own
    assert names_cluster()


def test_work_that_gives_nothing_for_long_is_told(
    ray: Callable[..., RayStandIn], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    ray(700, CPU=8.0)
    assert result("kept") == "kept"
    [first, second] = caplog.messages
    assert first == second
    assert first.startswith("no result of Ray's processes in 300 seconds (0 of 8 cores free): they work, or wait for")


@contextmanager
def web_server() -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@contextmanager
def silent_server() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("server", "said"),
    [
        (web_server, r"what answers there is not a Ray cluster \(b'.*'\); give the address of its head, such as HOST:"),
        (silent_server, r"no Ray cluster answers there \(timed out\); mend that, or use --engine polars"),
    ],
)
def test_an_address_that_is_not_a_clusters(
    monkeypatch: pytest.MonkeyPatch, server: Callable[[], Any], said: str
) -> None:
    """Said at once, where Ray tries for minutes."""
    monkeypatch.setattr(module, "_ANSWERS_WITHIN", 0.5)
    with server() as port:
        for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
            monkeypatch.setenv("RAY_ADDRESS", address)
            with pytest.raises(InputError, match=f"^RAY_ADDRESS {address}: {said}"), ray_cluster(2, 0, WAY_OUT):
                pass


@needs_ray
def test_the_address_of_rays_own_server_is_a_clusters(
    ray: Callable[..., RayStandIn], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = find_spec("ray")
    assert spec
    assert spec.origin
    program = Path(spec.origin).parent / "core/src/ray/gcs/gcs_server"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    told = [f"--gcs_server_port={port}", "--node-ip-address=127.0.0.1", "--session-name=x", "--config_list=e30="]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen([program, *told, f"--log_dir={tmp_path}"], stdout=log, stderr=log)
        try:
            for _ in itertools.takewhile(lambda _: server.poll() is None, range(600)):
                with socket.socket() as there:
                    if there.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            ray(0, CPU=1.0)
            monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
            with ray_cluster(1, 0, WAY_OUT):
                pass
        finally:
            server.terminate()
            server.wait()


@needs_ray
@pytest.mark.slow  # Ray's start takes half a minute on busy cores
def test_a_busy_ray(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Ray itself: a core that an actor holds is waited for in vain; once the actor is gone, it is free."""
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "_TOLD_AFTER", 1.0)
    with ray_cluster(1, 0, WAY_OUT):
        import ray

        holder = ray.remote(num_cpus=1)(threading.Event).remote()
        ray.get(holder.is_set.remote())
        monkeypatch.setattr(module, "_FREE_WITHIN", 1.0)
        said = re.escape("no free core for 1 seconds (0 of 1 cores)")
        with pytest.raises(InputError, match=said), ray_cluster(1, 0, WAY_OUT):
            pass
        ray.kill(holder)
        monkeypatch.setattr(module, "_FREE_WITHIN", 60.0)
        with ray_cluster(1, 0, WAY_OUT):
            pass

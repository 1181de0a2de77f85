"""Shards by actors of Ray: the same bytes as one process writes, also if an actor is killed while it writes."""

import os
import signal
import socket
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.ray_workers import in_parts, on_ray
from tests.datasets import write_dataset_folder
from tests.processes import descendants
from tests.trained_models import write_random_model

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra ray, is not installed")

STAGE = ("-m", "ssm4rec.stages.recommend_all")
LIMITED = """
import os, resource, sys
from pathlib import Path
from ssm4rec.runtime.ray_workers import on_ray

def write(name):
    if name.endswith("3"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))
    Path(name).write_text("longer than that")
    return name

try:
    print(*on_ray(write, [f"{sys.argv[1]}/{number}" for number in range(5)], 1, "cpu"))
except OSError as error:
    print(error.errno)
"""


@needs_ray
@pytest.mark.slow  # Ray's own processes take minutes on busy cores
def test_a_killed_actors_work_is_done_again_and_the_bytes_are_those_of_one_process(tmp_path: Path) -> None:
    """Ray's servers, which listen on all addresses, want a token that no file has."""
    dataset = write_dataset_folder(
        tmp_path / "dataset",
        [[(7 * user + step * step) % 30 + 1 for step in range(3 + user % 9)] for user in range(300)],
    )
    model = write_random_model(dataset, tmp_path / "model", "sasrec", 0.1)
    flags = [f"--dataset-dir={dataset}", f"--model-dir={model}", "--users-per-shard=1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    alone = subprocess.run(
        [sys.executable, *STAGE, *flags, f"--recommendations-dir={tmp_path / 'one'}"], env=environment, check=False
    )
    assert alone.returncode == 0
    command = [sys.executable, *STAGE, *flags, f"--recommendations-dir={tmp_path / 'two'}", "--workers=2"]
    log = tmp_path / "log"
    environment["HOME"] = str(tmp_path / "home")
    with log.open("w") as stream, subprocess.Popen(command, env=environment, stderr=stream) as running:
        while running.poll() is None and not list(tmp_path.glob("two.checkpoints/*/part-*.parquet")):
            time.sleep(0.02)
        actors = [number for number, name in descendants(running.pid) if name.startswith("ray::Map")]
        os.kill(actors[0], signal.SIGKILL)
        [server] = [number for number, name in descendants(running.pid) if "gcs_server" in name.partition("\0")[0]]
        settings = Path(f"/proc/{server}/environ").read_text()
    assert running.returncode == 0, log.read_text()
    assert len([line for line in log.read_text().splitlines() if "users per second" in line]) == 300
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(names) == 302
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == names
    assert all((tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes() for name in names)
    assert not (tmp_path / "two.checkpoints").exists()
    assert "RAY_AUTH_MODE=token\0" in settings
    assert not (tmp_path / "home").exists()  # else the token is in a file there that every user may read


def test_a_cluster_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Said at once, of a port of this machine that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        done = on_ray(print, ["part"], 2, "cpu")
        with pytest.raises(InputError, match=rf"RAY_ADDRESS {address}: no Ray cluster answers there \(.*refused\)"):
            next(done)


def test_one_part_is_done_here_unless_there_is_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may have the GPU that this machine lacks; no parts need no cluster."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for workers in (0, 1, 2):
        assert [*in_parts(len, ["part"], workers, "cpu")] == [("part", 4)]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    assert [*in_parts(len, ["part"], 1, "cpu")] == [("part", 4)]
    assert [*in_parts(len, [], 0, "cpu")] == []
    with pytest.raises(InputError, match="no Ray cluster answers there"):
        next(in_parts(len, ["part"], 0, "cpu"))


@needs_ray
@pytest.mark.slow
def test_what_an_actor_cannot_write_is_said_as_one_process_says_it(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, check=False)
    assert done.stdout == "27\n", done.stderr

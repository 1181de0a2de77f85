"""What a stage has a RayJob run, as the head's pod would read it, and a Ray cluster like a RayJob's to run it on."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLUSTER = """
import sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "num_gpus": 0, "include_dashboard": False})
for _ in range(2):
    cluster.add_node(num_cpus=1, num_gpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


def command_of(job: dict[str, Any]) -> list[str]:
    """Return the words of the command line that the head's pod would run, as a shell reads it."""
    shell, script = job["spec"]["entrypoint"].split(" ")
    assert shell == "sh"
    printing = Path(script).read_text().replace("exec ", "printf '%s\\n' ", 1)
    return subprocess.run(["sh", "-c", printing], capture_output=True, text=True, check=True).stdout.splitlines()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextmanager
def ray_cluster_here(log: Path) -> Iterator[str]:
    """Yield the address of a Ray cluster as a RayJob's: a head without cores, and two nodes with one, and a GPU, each.

    Nobody uses the GPUs, which are not there. It ends when its standard input does.
    """
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with log.open("w") as stream, subprocess.Popen([sys.executable, "-c", CLUSTER], stderr=stream, **pipes) as cluster:
        assert cluster.stdout
        yield next(line.strip() for line in cluster.stdout if ":" in line)

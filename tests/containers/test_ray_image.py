"""The CPU image with Ray in pods as KubeRay makes them: stages with ``--nodes``, from a task's pod to its folder.

Kubernetes' API is a stand-in and KubeRay's part is done by Docker (``kuberay.py``); stage, Ray, its dashboard and the
image are real.
"""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import images
from tests.containers.engine import Engine
from tests.containers.images import ROOT
from tests.containers.kuberay import KubeRay
from tests.containers.planted import Planted
from tests.datasets import write_dataset_folder
from tests.kubernetes_api import PODS, RAYJOBS, KubernetesApi, kubernetes_api, own_pod
from tests.trained_models import write_random_model

pytestmark = pytest.mark.containers

EVENTS = "user_id,item_id,timestamp\n" + "".join(
    f"u {step * step % 97},i{step % 31},{1_600_000_000 + step // 3}\n" for step in range(5_000)
)
PREPARE = (
    "python", "-m", "ssm4rec.stages.prepare_data", "--dataset=events", "--source=/cache/events.csv", "--name=clicks",
    "--cache-dir=/cache",
)  # fmt: skip
ON_NODES = ("--engine=ray", "--nodes=2", "--dataset-dir=/cache/dataset")
RECOMMEND = (
    "python", "-m", "ssm4rec.stages.recommend_all", "--dataset-dir=/cache/toy", "--model-dir=/cache/model", "--k=5",
    "--users-per-shard=10",
)  # fmt: skip
SEQUENCES = [[(7 * user + step * step) % 30 + 1 for step in range(3 + user % 9)] for user in range(40)]


@pytest.fixture
def api(tmp_path: Path) -> Iterator[KubernetesApi]:
    """The cluster's, with the task's pod and its volume, which everybody may write."""
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    (cache / "events.csv").write_text(EVENTS)
    with kubernetes_api(tmp_path) as (found, _):
        pod = own_pod(Path("/cache"))
        pod["spec"]["containers"][1]["resources"] = {"requests": {"cpu": "1"}}
        found.objects[f"{PODS}/run-x-1"] = pod
        yield found


def stage(
    engine: Engine, image: str, api: KubernetesApi, folder: Path, *command: str
) -> subprocess.CompletedProcess[str]:
    """Run a stage in its task's pod."""
    failures: list[BaseException] = []
    operators: list[threading.Thread] = []

    def operate(job: dict[str, object]) -> None:
        try:
            KubeRay(engine, image, folder / "cache", api).handle(job)
        except BaseException as error:  # shown by the test, not by a thread; the stage is to end
            failures.append(error)
            api.ray_ended("Failed", "FAILED", "OperatorFailed", repr(error))

    def work(job: dict[str, object]) -> None:
        operators.append(threading.Thread(target=operate, args=(job,)))
        operators[-1].start()

    api.on_create = work
    done = engine.try_docker(
        "run", "--rm", *images.LOCKED, "--network=host", f"--volume={folder}/cache:/cache",
        f"--volume={folder}/kubeconfig:/kubeconfig:ro", "--env=KUBECONFIG=/kubeconfig", "--env=KFP_POD_NAME=run-x-1",
        image, *command,
    )  # fmt: skip
    for operator in operators:
        operator.join()
    print(done.stdout)
    assert failures == []
    return done


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")}


def test_size_and_packages(engine: Engine, ray_image: str) -> None:
    gigabytes = images.size(engine, ray_image)
    print(f"{ray_image}: {gigabytes:.2f} GB")
    assert gigabytes < 3
    found = images.check_packages(engine, ray_image, ROOT / "images" / "constraints.txt")
    assert {"ray", "aiohttp-cors", "torch"} <= found
    assert not {"kfp", "docker", "pytest"} & found


def test_no_secrets_and_nothing_of_this_machine(engine: Engine, ray_image: str, planted: Planted) -> None:
    images.check_secrets(engine, ray_image, planted)


def test_nodes_write_the_folder_of_one_process(
    engine: Engine, ray_image: str, api: KubernetesApi, tmp_path: Path
) -> None:
    done = stage(engine, ray_image, api, tmp_path, *PREPARE, *ON_NODES, "--k-core=2")
    assert done.returncode == 0, done.stdout
    assert "the command: 1 of 1 files read: 5,000 events" in done.stdout
    assert "complete; written to /cache/dataset" in done.stdout
    own = (*PREPARE, "--engine=polars", "--k-core=2", "--dataset-dir=/cache/alone")
    engine.docker("run", "--rm", *images.ALONE, f"--volume={tmp_path}/cache:/cache", ray_image, *own)
    found = files_of(tmp_path / "cache" / "dataset")
    assert {"manifest.json", "sequences.parquet", "items.parquet"} <= {*found}
    assert found == files_of(tmp_path / "cache" / "alone")
    assert not [*(tmp_path / "cache" / "ray").iterdir()]
    assert not [path for path in api.objects if path.startswith(RAYJOBS)]


def test_nodes_write_the_lists_of_one_process(
    engine: Engine, ray_image: str, api: KubernetesApi, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    write_random_model(write_dataset_folder(cache / "toy", SEQUENCES), cache / "model", "sasrec", 0.1)
    on_nodes = ("--nodes=2", "--checkpoint-dir=/cache/shards", "--recommendations-dir=/cache/lists")
    done = stage(engine, ray_image, api, tmp_path, *RECOMMEND, *on_nodes)
    assert done.returncode == 0, done.stdout
    own = (*RECOMMEND, "--recommendations-dir=/cache/alone")
    # Of one thread, as each of Ray's processes has: with more, the last bits of scores are others.
    flags = (*images.ALONE, "--env=OMP_NUM_THREADS=1", f"--volume={cache}:/cache")
    engine.docker("run", "--rm", *flags, ray_image, *own)
    found = files_of(cache / "lists")
    assert len([name for name in found if name.endswith(".parquet")]) == 4
    assert found == files_of(cache / "alone")
    assert not [*(cache / "shards").iterdir()]


def test_a_command_that_fails_is_the_stage_s_status(
    engine: Engine, ray_image: str, api: KubernetesApi, tmp_path: Path
) -> None:
    """No user has so many events, which is bad input: 2."""
    done = stage(engine, ray_image, api, tmp_path, *PREPARE, *ON_NODES, "--k-core=100000")
    assert done.returncode == 2, done.stdout
    assert "failed (AppFailed: Job entrypoint command failed with exit code 2" in done.stdout
    assert "Traceback" not in done.stdout
    assert not (tmp_path / "cache" / "dataset").exists()
    assert not [*(tmp_path / "cache" / "ray").iterdir()]

"""recommend_all on several nodes: the bytes of one process, finished shards kept, and nothing left behind."""

import dataclasses
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from ssm4rec.artifacts.items import read_items
from ssm4rec.registry.mlflow_model import write_mlflow_model
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.recommend_all.__main__ import run
from ssm4rec.stages.recommend_all.settings import Settings
from tests.conftest import Refusal
from tests.datasets import write_dataset_folder
from tests.kubernetes_api import CLAIMS, PODS, RAYJOBS, KubernetesApi, claim, kubernetes_api, own_pod
from tests.ray_jobs import command_of, files_of, ray_cluster_here
from tests.trained_models import write_random_model

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="Ray, the extra ray, is not installed"),
    pytest.mark.filterwarnings(  # MLflow's own: at import, and about the input example
        "ignore:.*Any type hint is inferred:UserWarning", "ignore:Operation with range:DeprecationWarning"
    ),
]

SEQUENCES = [[(7 * user + step * step) % 30 + 1 for step in range(3 + user % 9)] for user in range(40)]
KILLED = "Job entrypoint command failed with exit code 137. No logs available."
Job = dict[str, Any]


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    dataset = write_dataset_folder(tmp_path / "dataset", SEQUENCES)
    write_random_model(dataset, tmp_path / "model", "sasrec", 0.1)
    (tmp_path / "cache").mkdir()
    with kubernetes_api(tmp_path) as (found, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield found


def flags(folder: Path, *further: str) -> list[str]:
    return [
        f"--dataset-dir={folder}/dataset", f"--model-dir={folder}/model", f"--recommendations-dir={folder}/lists",
        "--k=5", "--users-per-shard=1", "--nodes=3", f"--checkpoint-dir={folder}/cache/shards", *further,
    ]  # fmt: skip


def recommend(*arguments: str) -> None:
    run_stage(Settings.parser(), run, arguments)


def alone(folder: Path, *further: str) -> dict[str, bytes]:
    """Return the files that one process writes, of the same flags."""
    own = ["--nodes=1", "--checkpoint-dir=", f"--recommendations-dir={folder}/alone"]
    recommend(*flags(folder, *further), *own)
    return files_of(folder / "alone")


def does_it(api: KubernetesApi, said: list[list[str]]) -> Callable[[Job], None]:
    """Return what does the command of a RayJob, as one process, and notes its words."""

    def work(job: Job) -> None:
        said.append(command_of(job))
        try:
            run(dataclasses.replace(Settings.parser().parse_args(said[-1][3:]), workers=1))
        except InputError as error:
            api.ray_ended("Failed", "FAILED", "AppFailed", str(error))
        else:
            api.ray_ended("Complete", "SUCCEEDED")

    return work


def left_in(folder: Path) -> list[str]:
    return [path.name for path in (folder / "cache" / "shards").iterdir()]


def test_the_lists_are_what_the_nodes_wrote_and_nothing_is_left(
    api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The process is told all that the stage was told; KFP is shown the counts by the stage, which has its input."""
    (tmp_path / "cache" / "its stock.csv").write_text("item_id\n" + "".join(f"i{item}\n" for item in range(1, 20)))
    further = [f"--allowed-items={tmp_path}/cache/its stock.csv", "--masked=false", "--other-data=true"]
    shown = {"artifacts": [{"name": "shown", "uri": str(tmp_path / "no" / "shown")}]}
    outputs = {"outputFile": str(tmp_path / "output.json"), "artifacts": {"shown": shown}}
    asked = flags(tmp_path, *further, f"--executor-input={json.dumps({'inputs': {}, 'outputs': outputs})}")
    said: list[list[str]] = []
    caplog.set_level("INFO")
    api.on_create = does_it(api, said)
    recommend(*asked)
    _, option, module, *arguments = said[0]
    assert (option, module) == ("-m", "ssm4rec.stages.recommend_all")
    told, own = (Settings.parser().parse_args(one) for one in (arguments, asked))
    assert (told.nodes, told.workers, told.device) == (1, 0, "cpu")
    places = ("dataset_dir", "model_dir", "recommendations_dir")
    where = {name: getattr(own, name) for name in (*places, "nodes", "workers", "device", "executor_input")}
    assert dataclasses.replace(told, **where) == own
    [name] = {getattr(told, place).parent.name for place in places}
    assert name.startswith("recommend-toy-")
    assert all(getattr(told, place).is_relative_to(tmp_path / "cache" / "shards") for place in places)
    assert files_of(tmp_path / "lists") == alone(tmp_path, *further)
    assert left_in(tmp_path) == []
    assert not [path for path in api.objects if path.startswith((RAYJOBS, f"{PODS}/recommend"))]
    assert f"RayJob {name}: complete; written to {tmp_path}/lists" in caplog.messages
    [counted] = json.loads((tmp_path / "output.json").read_text())["artifacts"]["shown"]["artifacts"]
    assert counted["metadata"] == {
        "users": 40, "users_by_popularity": 0, "users_with_fewer": 0, "recommendations": 200
    }  # fmt: skip


def test_killed_there_it_ends_with_that_status_and_the_next_attempt_resumes(
    api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process on the head is killed once a shard is there; the pod of the next attempt has another name."""

    def kill(job: Job) -> None:
        shards = tmp_path / "cache" / "shards"
        command = [*command_of(job), "--workers=1"]
        with subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL) as begun:
            while begun.poll() is None and not [*shards.glob("recommend-sasrec-*/part-*.parquet")]:
                time.sleep(0.001)
            begun.kill()
        api.ray_ended("Failed", "FAILED", "AppFailed", KILLED)

    caplog.set_level("INFO")
    api.on_create = lambda job: threading.Thread(target=kill, args=(job,), daemon=True).start()
    with pytest.raises(SystemExit) as stopped:
        recommend(*flags(tmp_path))
    assert stopped.value.code == 137
    name = api.rayjob()["metadata"]["name"]
    assert caplog.messages[-1] == f"RayJob {name} failed (AppFailed: {KILLED}); what it said is above"
    assert not (tmp_path / "lists").exists()
    [shards] = left_in(tmp_path)  # and not what the nodes were given
    finished = len([*(tmp_path / "cache" / "shards" / shards).glob("part-*.parquet")])
    assert 0 < finished < 40
    api.objects[f"{PODS}/run-x-2"] = own_pod(tmp_path / "cache", "run-x-2")
    monkeypatch.setenv("KFP_POD_NAME", "run-x-2")
    said: list[list[str]] = []
    api.on_create = does_it(api, said)
    recommend(*flags(tmp_path))
    assert f"/{name}/recommendations-dir" in said[0][-1]  # it is the same command
    assert f"resumed: {finished} of 40 shards are there" in caplog.messages
    assert files_of(tmp_path / "lists") == alone(tmp_path)
    assert left_in(tmp_path) == []


def test_one_that_ended_while_its_task_was_lost_is_written_without_another(api: KubernetesApi, tmp_path: Path) -> None:
    """The stage is killed, the nodes finish, the stage is started again."""

    def lose(job: Job) -> None:
        job["metadata"]["deletionTimestamp"] = "2026-11-29T22:00:00Z"

    api.on_create, api.forbidden = lose, {("delete", "rayjobs")}  # so that the first attempt leaves all
    with pytest.raises(SystemExit):
        recommend(*flags(tmp_path))
    del api.rayjob()["metadata"]["deletionTimestamp"]
    api.forbidden = set()
    does_it(api, [])(api.rayjob())
    recommend(*flags(tmp_path))
    assert api.count("POST", RAYJOBS) == 1
    assert files_of(tmp_path / "lists") == alone(tmp_path)
    assert left_in(tmp_path) == []


def test_each_node_has_the_gpus_of_the_task_and_the_head_has_none(
    api: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task on GPUs that holds none itself gives each node one. Other data, another model or run is another RayJob."""
    limits = api.objects[f"{PODS}/run-x-1"]["spec"]["containers"][1]["resources"]["limits"]
    names: list[str] = []
    said: list[list[str]] = []

    def note(job: Job) -> None:
        said.append(command_of(job))
        api.ray_ended("Failed", "FAILED", "AppFailed", "no")

    def made(*further: str) -> tuple[str, str | None, str | None]:
        """Return the device that the process is told, and the GPUs of a node and of the head."""
        with pytest.raises(SystemExit):
            recommend(*flags(tmp_path, *further))
        job = api.rayjob()
        names.append(job["metadata"]["name"])
        del api.objects[f"{RAYJOBS}/{names[-1]}"]
        cluster = job["spec"]["rayClusterSpec"]
        groups = (cluster["workerGroupSpecs"][0], cluster["headGroupSpec"])
        found = [one["template"]["spec"]["containers"][0]["resources"]["limits"] for one in groups]
        assert all(one["memory"] == "64Gi" for one in found)
        assert cluster["workerGroupSpecs"][0]["replicas"] == 3
        [node, head] = [one.get("nvidia.com/gpu") for one in found]
        return [word for word in said.pop() if word.startswith("--device=")][-1], node, head

    api.on_create = note
    assert made() == ("--device=cpu", None, None)
    assert made("--device=cuda") == ("--device=cuda", "1", None)
    monkeypatch.setenv("SSM4REC_DEVICE", "cuda")
    assert made("--device=auto") == ("--device=cuda", "1", None)
    monkeypatch.delenv("SSM4REC_DEVICE")
    assert names[1] == names[2]
    limits["nvidia.com/gpu"] = "2"
    assert made("--device=auto") == ("--device=cuda", "2", None)
    assert made("--device=cpu") == ("--device=cpu", None, None)
    assert names[4] == names[0]
    write_random_model(tmp_path / "dataset", tmp_path / "other model", "sasrec", 0.1, seed=1)
    made("--device=cpu", f"--model-dir={tmp_path}/other model")
    api.objects[f"{PODS}/run-x-1"]["metadata"]["labels"]["workflows.argoproj.io/workflow"] = "run-y"
    made("--device=cpu")
    assert len({*names}) == 5


def test_a_champion_reaches_the_nodes_whole(api: KubernetesApi, tmp_path: Path) -> None:
    write_mlflow_model(tmp_path / "champion", tmp_path / "model", read_items(tmp_path / "dataset"), {})
    api.on_create = does_it(api, [])
    recommend(*flags(tmp_path, f"--model-dir={tmp_path}/champion"))
    assert files_of(tmp_path / "lists") == alone(tmp_path)


def test_lists_that_somebody_removed_are_one_line(api: KubernetesApi, tmp_path: Path, refusal: Refusal) -> None:
    api.on_create = lambda _: api.ray_ended("Complete", "SUCCEEDED")
    line = refusal(run, *flags(tmp_path))
    assert "/recommendations-dir is not there, as if somebody had tidied up; start the same again" in line
    assert not [path for path in api.objects if path.startswith(RAYJOBS)]
    assert left_in(tmp_path) == []


def test_what_keeps_it_off_several_nodes_is_one_line(
    api: KubernetesApi, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = flags(tmp_path)
    assert "--workers 2: is of one machine; with --nodes 3 each node gives all" in refusal(run, *told, "--workers=2")
    said = refusal(run, *told, "--checkpoint-dir=")
    assert "--nodes 3: needs --checkpoint-dir, a folder of a volume that all nodes mount, such as /cache/check" in said
    said = refusal(run, *told, f"--checkpoint-dir={tmp_path}/elsewhere")
    assert f"--checkpoint-dir {tmp_path}/elsewhere: lies on no volume that the nodes can mount" in said
    assert "with --nodes only letters, digits," in refusal(run, *told, f"--checkpoint-dir={tmp_path}/cache/a b")
    (tmp_path / "list.csv").write_text("item_id,user_id,title\ni1,u1,One\n")
    for flag in ("--allowed-items", "--users", "--added-items"):
        said = refusal(run, *told, f"{flag}={tmp_path}/list.csv")
        assert f"{flag} {tmp_path}/list.csv: lies on no volume that the nodes can mount" in said
    api.objects[f"{CLAIMS}/ssm4rec-cache"] = claim("ReadWriteOnce")
    assert "lies on the volume ssm4rec-cache (ReadWriteOnce), which one node at a" in refusal(run, *told)
    api.objects[f"{CLAIMS}/ssm4rec-cache"] = claim("ReadWriteMany")
    with monkeypatch.context() as without:
        without.setattr("ssm4rec.runtime.extras.find_spec", lambda _: None)
        assert "--nodes 3: Ray is not installed; install it (pip install" in refusal(run, *told)
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert "no cluster is known here (Service host/port is not set.)" in refusal(run, *told)
    assert not [path for path in api.objects if path.startswith(RAYJOBS)]
    assert not [*(tmp_path / "cache").iterdir()]
    with pytest.raises(InputError, match="--nodes 3: other nodes are a cluster's, and this runs here; leave it out"):
        Settings.parser().parse_args(told).check_here()


@pytest.mark.slow  # Ray's start takes half a minute on busy cores
def test_by_ray_itself(api: KubernetesApi, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The command as the head's pod would run it, for a Ray cluster of this machine's processes.

    That there is no GPU is found by the node that should have one, and is said as the command's; the head needs none.
    """
    caplog.set_level("INFO")

    def work(job: Job) -> None:
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_ADDRESS": address}
        done = subprocess.run(["sh", "-c", job["spec"]["entrypoint"]], env=variables, capture_output=True, text=True)
        now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
        state = {"terminated": {"exitCode": done.returncode}}
        lines = [(f"{now}.{row:09}Z", line) for row, line in enumerate(done.stderr.splitlines())]
        with api.lock:
            api.logs[api.ray_started(job["metadata"]["name"], "submit", state)] = lines
            if done.returncode:
                api.ray_ended("Failed", "FAILED", "AppFailed", f"failed with exit code {done.returncode}")
            else:
                api.ray_ended("Complete", "SUCCEEDED")

    api.on_create = lambda job: threading.Thread(target=work, args=(job,), daemon=True).start()
    with ray_cluster_here(tmp_path / "log") as address:
        recommend(*flags(tmp_path, "--device=cpu"))
        recommend(*flags(tmp_path, "--device=cpu", "--users-per-shard=100", f"--recommendations-dir={tmp_path}/one"))
        if not torch.cuda.is_available():
            with pytest.raises(SystemExit) as stopped:
                recommend(*flags(tmp_path, "--device=cuda", f"--recommendations-dir={tmp_path}/gpus"))
            assert stopped.value.code == 2
            said = "the command: python -m ssm4rec.stages.recommend_all: error: --device cuda: there is none here ("
            assert said in caplog.text
    assert files_of(tmp_path / "lists") == alone(tmp_path, "--device=cpu")
    assert len(files_of(tmp_path / "one")) == 3
    assert sum(" users per second, " in line for line in caplog.messages if line.startswith("the command: ")) == 41
    assert left_in(tmp_path) == []

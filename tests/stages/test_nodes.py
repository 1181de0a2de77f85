"""train_recommender on several nodes: the same weights as on one machine, and nothing doubled or left behind."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.train_recommender.__main__ import run
from ssm4rec.stages.train_recommender.settings import Settings
from tests.conftest import Refusal, WriteDataset
from tests.kubernetes_api import CLAIMS, NAMESPACE, PODS, TRAINJOBS, KubernetesApi, claim, kubernetes_api, own_pod

STAGE = "ssm4rec.stages.train_recommender"
TINY = "model.dropout=0.1,training.tokens_per_batch=24,training.epochs=2"


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    with kubernetes_api(tmp_path) as (found, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield found


def flags(dataset: Path, folder: Path, cache: Path, *further: str) -> list[str]:
    return [
        "--dataset-dir", str(dataset), "--model", "sasrec", "--profile", "smoke", "--overrides", TINY,
        "--device", "cpu", "--model-dir", str(folder / "model"),
        "--curve", str(folder / "curve.parquet"), "--checkpoint-dir", str(cache / "checkpoints"), *further,
    ]  # fmt: skip


def train(*arguments: str) -> None:
    run_stage(Settings.parser(), run, arguments)


def deleted_by_hand(job: dict[str, Any]) -> None:
    """Do what Kubernetes does with a TrainJob that somebody deletes, while its pods end."""
    job["metadata"]["deletionTimestamp"] = "2026-11-29T22:00:00Z"


class Trainer:
    """Kubeflow Trainer 2.3 with two nodes on this machine: a pod is a process.

    Its variables are pkg/runtime/framework/plugins/torch/torch.go's (EnforceMLPolicy), with this machine's name for the
    first node, and the TrainJob's own (apply.UpsertEnvVars).
    """

    def __init__(
        self, api: KubernetesApi, disturb: Callable[[list[subprocess.Popen[str]]], None] = lambda _: None
    ) -> None:
        self.api, self.disturb = api, disturb
        self.thread = threading.Thread(target=self._run, daemon=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]

    def __call__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.thread.start()

    def _run(self) -> None:
        name, trainer = self.job["metadata"]["name"], self.job["spec"]["trainer"]
        started = {}
        for rank in range(trainer["numNodes"]):
            variables = {entry["name"]: entry["value"] for entry in trainer.get("env", ())} | {
                "PET_NNODES": str(trainer["numNodes"]),
                "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
                "PET_NODE_RANK": str(rank),
                "PET_MASTER_ADDR": "127.0.0.1",
                "PET_MASTER_PORT": str(self.port),
            }
            environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
            environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
            pod = self.api.started(name, rank, {"running": {}})
            started[pod] = subprocess.Popen(
                [*trainer["command"], *trainer["args"]],
                env=environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        self.disturb([*started.values()])
        for pod, process in started.items():
            _, said = process.communicate()
            now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
            self.api.logs[pod] = [(f"{now}.{row:09}Z", line) for row, line in enumerate(said.splitlines())]
        if any(process.returncode for process in started.values()):
            self.api.ended("Failed", "FailedJobs", "jobset failed due to one or more job failures")
        else:
            self.api.ended("Complete")


@pytest.mark.slow
def test_two_nodes_train_as_two_processes_of_one_machine(
    api: KubernetesApi, cycle_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    api.on_create = Trainer(api)
    train(*flags(cycle_dataset, tmp_path / "nodes", tmp_path / "cache", "--nodes", "2"))
    together = [*flags(cycle_dataset, tmp_path / "processes", tmp_path / "other"), "--processes", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", STAGE, *together], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in ("model.safetensors", ".ssm4rec.json"):
        one, other = (tmp_path / kind / "model" / name for kind in ("nodes", "processes"))
        assert one.read_bytes() == other.read_bytes()
    assert '"processes": 2' in (tmp_path / "nodes" / "model" / "config.json").read_text()
    assert (tmp_path / "nodes" / "curve.parquet").exists()
    assert any(line.startswith("node 0: sasrec seed 0 epoch 1/2") for line in caplog.messages)
    assert not [path for path in api.objects if path.startswith((TRAINJOBS, f"{PODS}/train"))]
    [checkpoints] = (tmp_path / "cache" / "checkpoints").iterdir()  # what the nodes were given is gone
    assert checkpoints.name.startswith("sasrec-seed0-")


def test_a_training_that_fails_there_is_status_1_and_its_next_attempt_takes_its_place(
    api: KubernetesApi,
    cycle_dataset: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The pod of the second attempt has another name, as KFP's has."""
    arguments = flags(cycle_dataset, tmp_path, tmp_path / "cache", "--nodes", "2", "--processes", "4")
    api.on_create = lambda _: api.ended("Failed", "FailedJobs", "jobset failed due to one or more job failures")
    names = []
    for pod in ("run-x-1", "run-x-2"):
        api.objects[f"{PODS}/{pod}"] = own_pod(tmp_path / "cache", pod)
        monkeypatch.setenv("KFP_POD_NAME", pod)
        with pytest.raises(SystemExit) as stopped:
            train(*arguments)
        assert stopped.value.code == 1
        names.append(api.trainjob()["metadata"]["name"])
    assert names[0] == names[1]
    assert caplog.messages[-1] == (
        f"TrainJob {names[0]} failed (FailedJobs: jobset failed due to one or more job failures); what its nodes said "
        "is above"
    )
    assert not [*(tmp_path / "cache" / "checkpoints").iterdir()]  # the volume keeps no copy of the data
    assert api.count("POST", TRAINJOBS) == 2
    assert api.trainjob()["spec"]["trainer"]["numProcPerNode"] == 4
    assert not (tmp_path / "model").exists()


def test_what_the_nodes_were_given_stays_only_for_nodes_that_may_still_run(
    api: KubernetesApi, cycle_dataset: Path, tmp_path: Path
) -> None:
    """The TrainJob is not made, or goes, or nobody can tell whether it goes."""
    arguments = Settings.parser().parse_args(flags(cycle_dataset, tmp_path, tmp_path / "cache", "--nodes", "2"))
    checkpoints = tmp_path / "cache" / "checkpoints"
    api.on_create = deleted_by_hand
    for forbidden, left in (("create", 0), ("", 0), ("delete", 1)):
        api.forbidden = {(forbidden, "trainjobs")}
        with pytest.raises(InputError):
            run(arguments)
        assert len([*checkpoints.iterdir()]) == left


def test_data_that_the_nodes_map_have_room(
    api: KubernetesApi, cycle_dataset: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssm4rec.artifacts.dataset.IN_MEMORY", 8)
    made: list[dict[str, Any]] = []

    def end(job: dict[str, Any]) -> None:
        made.append(job)
        api.ended("Complete")

    api.on_create = end
    refusal(run, *flags(cycle_dataset, tmp_path, tmp_path / "cache", "--nodes", "2"))
    [patch] = made[0]["spec"]["runtimePatches"]
    [node] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    [limit] = [one["emptyDir"] for one in node["template"]["spec"]["template"]["spec"]["volumes"] if "emptyDir" in one]
    assert limit == {"sizeLimit": "11Gi"}  # 10 of the runtime, and some bytes


def test_results_that_somebody_removed_are_one_line_and_then_made_again(
    api: KubernetesApi, cycle_dataset: Path, tmp_path: Path, refusal: Refusal
) -> None:
    api.on_create = lambda _: api.ended("Complete")
    several = flags(cycle_dataset, tmp_path, tmp_path / "cache", "--nodes", "2")
    for _ in range(2):  # the first one is gone
        assert "has no model and curve, as if somebody had tidied up; start the same" in refusal(run, *several)
    assert api.count("POST", TRAINJOBS) == 2


def test_one_that_ended_while_its_task_was_lost_is_written_without_another(
    api: KubernetesApi, cycle_dataset: Path, tmp_path: Path
) -> None:
    """The stage is killed, the nodes finish, the stage is started again."""
    arguments = flags(cycle_dataset, tmp_path, tmp_path / "cache", "--nodes", "2")
    api.on_create, api.forbidden = deleted_by_hand, {("delete", "trainjobs")}  # so that the first attempt leaves all
    with pytest.raises(SystemExit):
        train(*arguments)
    del api.trainjob()["metadata"]["deletionTimestamp"]
    api.forbidden = set()
    given = Settings.parser().parse_args(api.trainjob()["spec"]["trainer"]["args"])
    run(dataclasses.replace(given, nodes=1))  # as its one process
    api.ended("Complete")
    train(*arguments)
    assert api.count("POST", TRAINJOBS) == 1
    assert (tmp_path / "model" / "model.safetensors").exists()
    assert (tmp_path / "curve.parquet").exists()
    assert not given.dataset_dir.exists()


def test_one_that_is_killed_while_it_removes_what_the_nodes_had_is_done_again(
    api: KubernetesApi, cycle_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing half removed is taken for the data."""

    def train_and_end(job: dict[str, Any]) -> None:
        told = Settings.parser().parse_args(job["spec"]["trainer"]["args"])
        try:
            run(dataclasses.replace(told, nodes=1))  # as its one process
        except InputError as error:
            api.ended("Failed", "FailedJobs", str(error))
        else:
            api.ended("Complete")

    def remove_some(folder: Path, **_: Any) -> None:
        for path in folder.rglob("sequences.parquet"):
            path.unlink()
            raise KeyboardInterrupt

    api.on_create = train_and_end
    arguments = flags(cycle_dataset, tmp_path, tmp_path / "cache", "--nodes", "2")
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr("ssm4rec.runtime.shared_folder.shutil.rmtree", remove_some)
        run(Settings.parser().parse_args(arguments))
    train(*arguments)
    assert (tmp_path / "model" / "model.safetensors").exists()
    [checkpoints] = (tmp_path / "cache" / "checkpoints").iterdir()
    assert checkpoints.name.startswith("sasrec-seed0-")


def test_the_nodes_are_told_all_that_the_stage_was_told(
    api: KubernetesApi, cycle_dataset: Path, write_dataset: WriteDataset, tmp_path: Path, monkeypatch: Any
) -> None:
    """And asked again with other settings, other data or in another run, the stage makes another TrainJob."""
    monkeypatch.setenv("SSM4REC_DEVICE", "cuda")
    seen: set[str] = set()
    copies: list[bytes] = []

    def fail(job: dict[str, Any]) -> None:
        parser = Settings.parser()
        told = parser.parse_args(job["spec"]["trainer"]["args"])
        parser.check_paths(told)  # as each node does at its start
        copies.append((told.dataset_dir / "sequences.parquet").read_bytes())
        api.ended("Failed")

    api.on_create = fail

    def made(*further: str, dataset: Path = cycle_dataset) -> dict[str, Any]:
        arguments = flags(dataset, tmp_path, tmp_path / "cache", "--nodes", "3", "--processes", "2", *further)
        with pytest.raises(SystemExit):
            train(*arguments)
        job = api.trainjob()
        del api.objects[f"{TRAINJOBS}/{job['metadata']['name']}"]
        told = Settings.parser().parse_args(job["spec"]["trainer"]["args"])
        asked = Settings.parser().parse_args(arguments)
        where = ("dataset_dir", "model_dir", "curve")
        same = {name: getattr(asked, name) for name in (*where, "nodes", "processes")}
        assert dataclasses.replace(told, **same) == asked
        cache = Path(asked.checkpoint_dir)
        assert all(getattr(told, name).is_relative_to(cache / job["metadata"]["name"]) for name in where)
        assert copies.pop() == (dataset / "sequences.parquet").read_bytes()
        assert job["metadata"]["name"] not in seen
        seen.add(job["metadata"]["name"])
        return job

    assert "nvidia.com/gpu" not in made()["spec"]["trainer"]["resourcesPerNode"]["limits"]
    assert made("--device", "auto")["spec"]["trainer"]["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "2"
    made("--seed", "4294967295", "--label", "window50", "--precision", "bf16")
    made(dataset=write_dataset([[1, 2, 3, 4], [2, 3, 4, 1]], folder="further"))
    api.objects[f"{PODS}/run-x-1"]["metadata"]["labels"]["workflows.argoproj.io/workflow"] = "run-y"
    made()


def test_what_keeps_a_training_off_several_nodes_is_one_line(
    api: KubernetesApi, cycle_dataset: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    several = [*flags(cycle_dataset, tmp_path, tmp_path / "cache"), "--nodes", "2"]
    assert "--nodes 2: needs --checkpoint-dir, a folder of a volume that all" in refusal(
        run, *several[:-4], "--nodes", 2
    )
    assert "--nodes 1000: at most 999" in refusal(run, *several[:-1], 1000)
    elsewhere = [*flags(cycle_dataset, tmp_path, tmp_path), "--nodes", "2"]
    assert f"--checkpoint-dir {tmp_path}/checkpoints: lies on no volume that the nodes" in refusal(run, *elsewhere)
    api.objects[f"{CLAIMS}/ssm4rec-cache"] = claim("ReadWriteOnce")
    assert "lies on the volume ssm4rec-cache (ReadWriteOnce), which one node at a" in refusal(run, *several)
    api.forbidden = {("get", "persistentvolumeclaims")}
    assert "cannot get resource" in (line := refusal(run, *several))
    assert line.endswith("`kubectl apply -k manifests/nodes` grants it")
    api.forbidden = set()
    api.objects[f"{CLAIMS}/ssm4rec-cache"] = claim("ReadWriteMany")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:planted@mlflow.example.org")
    assert "MLFLOW_TRACKING_URI: has a user, a password or a query in it" in refusal(run, *several)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("KFP_POD_NAME", "a-workstation")
    assert f"a-workstation: no pod of namespace {NAMESPACE}; run this in one" in refusal(run, *several)
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert "no cluster is known here (Service host/port is not set.)" in refusal(run, *several)
    assert not (tmp_path / "cache").exists()
    with pytest.raises(Exception, match="--nodes 2: other nodes are a cluster's, and this runs here; leave it out"):
        Settings.parser().parse_args(several).check_here()


@pytest.mark.slow
def test_a_lost_node_costs_an_epoch_at_most(api: KubernetesApi, cycle_dataset: Path, tmp_path: Path) -> None:
    """One of two nodes is killed after a checkpoint: the training fails, is started again, and ends as undisturbed."""
    checkpoints = tmp_path / "cache" / "checkpoints"
    further = ["--nodes", "2", "--overrides", TINY.replace("epochs=2", "epochs=30")]
    arguments = flags(cycle_dataset, tmp_path / "nodes", tmp_path / "cache", *further)

    def lose(processes: list[subprocess.Popen[str]]) -> None:
        while not list(checkpoints.glob("sasrec-seed0-*/checkpoint.safetensors")):
            time.sleep(0.01)
        agent = processes[1].pid  # its worker has a session of its own, and would go on; a pod ends as a whole
        workers = Path(f"/proc/{agent}/task/{agent}/children").read_text().split()
        for pid in (agent, *map(int, workers)):
            os.kill(pid, signal.SIGKILL)

    api.on_create = Trainer(api, lose)
    with pytest.raises(SystemExit) as stopped:
        train(*arguments)
    assert stopped.value.code == 1
    [reached] = checkpoints.glob("sasrec-seed0-*/checkpoint.safetensors")
    before = reached.read_bytes()
    api.on_create = Trainer(api)
    train(*arguments)
    assert reached.read_bytes() != before  # it was not at its end
    together = flags(cycle_dataset, tmp_path / "processes", tmp_path / "other", "--processes", "2", *further[2:])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", STAGE, *together], env=environment, capture_output=True, check=True)
    one, other = (tmp_path / kind / "model" / "model.safetensors" for kind in ("nodes", "processes"))
    assert one.read_bytes() == other.read_bytes()

"""The TrainJob that is rendered for a pod: the whole of it, which tests/manifests checks by Trainer's schema."""

import dataclasses
from pathlib import Path

import pytest
import yaml

from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.task_pod import LONGEST_NAME, claim_of, job_name
from ssm4rec.runtime.trainjob import NodesCommand, render
from tests.kubernetes_api import own_pod

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "manifests" / "nodes_trainjob.yaml"
COMMAND = NodesCommand(
    name="train-sasrec-seed-0-0123456789",
    runtime="ssm4rec-nodes",
    command=["torchrun", "-m", "ssm4rec.stages.train_recommender"],
    arguments=["--dataset-dir=/cache/checkpoints/x/dataset", "--seed=0"],
    nodes=2,
    processes=8,
    gpus=8,
    variables=["SSM4REC_DEVICE", "MLFLOW_RUN_ID", "KFP_POD_NAME", "ABSENT"],
)


def test_every_node_is_like_the_pod_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what Kubernetes put into it, its sidecar, and volumes that other pods cannot mount."""
    monkeypatch.setenv("SSM4REC_DEVICE", "cuda")
    monkeypatch.setenv("MLFLOW_RUN_ID", "0f")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not to be passed on")
    assert render(COMMAND, own_pod(Path("/cache"))) == yaml.safe_load(GOLDEN.read_text())


def test_a_node_without_gpus_and_without_anything_of_the_pods() -> None:
    told = NodesCommand(name="train-x", runtime="r", command=["torchrun"], arguments=[], nodes=2)
    pod = {"metadata": {"namespace": "default"}, "spec": {"containers": [{"name": "notebook", "image": "i:1"}]}}
    spec = render(told, pod)["spec"]
    assert spec["trainer"] == {"image": "i:1", "command": ["torchrun"], "numNodes": 2, "numProcPerNode": 1}
    [patch] = spec["runtimePatches"]
    [job] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert job == {"name": "node", "template": {"spec": {"template": {"spec": {}}}}}


def test_what_each_process_maps_has_room_next_to_the_runtimes() -> None:
    """The runtime's own limit is that of manifests/nodes; the volume at /tmp there has the patch's name."""
    runtime = yaml.safe_load((ROOT / "manifests" / "nodes" / "runtime.yaml").read_text())
    [job] = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    [name] = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/tmp"]
    assert {"name": name, "emptyDir": {"sizeLimit": "10Gi"}} in pod["volumes"]
    told = dataclasses.replace(COMMAND, room=4_000_000_000)
    [patch] = render(told, own_pod(Path("/cache")))["spec"]["runtimePatches"]
    [node] = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    *claims, temporary = node["template"]["spec"]["template"]["spec"]["volumes"]
    assert temporary == {"name": name, "emptyDir": {"sizeLimit": "40Gi"}}  # 8 times 3.7 GiB
    assert claims


def test_an_address_with_a_password_is_not_written_into_the_trainjob(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless it stays a reference to a secret."""
    told = dataclasses.replace(COMMAND, variables=["MLFLOW_TRACKING_URI"])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:planted@mlflow.example.org")
    pod = own_pod(Path("/cache"))
    with pytest.raises(InputError, match=r"^MLFLOW_TRACKING_URI: has a user, a password or a query in it") as refused:
        render(told, pod)
    assert "planted" not in str(refused.value)
    entry = {"name": "MLFLOW_TRACKING_URI", "valueFrom": {"secretKeyRef": {"name": "mlflow", "key": "uri"}}}
    pod["spec"]["containers"][1]["env"].append(entry)
    assert render(told, pod)["spec"]["trainer"]["env"] == [entry]


def test_names_fit_into_those_of_pods() -> None:
    """A pod of the 1,000th node, and Kubernetes' limit of 63."""
    name = job_name("train", "2mamba4rec seed 4294967295", "0123456789abcdef")
    assert name == "train-2mamba4rec-seed-4294967-0123456789"
    assert len(name) <= LONGEST_NAME
    assert len(f"{name}-node-0-999-abcde") <= 63


def test_a_folder_lies_on_the_volume_that_is_mounted_above_it() -> None:
    pod = own_pod(Path("/cache"))
    assert claim_of(pod, Path("/cache/checkpoints"), "--checkpoint-dir") == "ssm4rec-cache"
    for folder in ("/dev/shm/x", "/cached", "/"):  # an emptyDir is the pod's alone
        with pytest.raises(
            InputError, match=rf"^--checkpoint-dir {folder}: lies on no volume .*\(this pod's: /cache\)"
        ):
            claim_of(pod, Path(folder), "--checkpoint-dir")

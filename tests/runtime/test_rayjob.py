"""A RayJob: the whole of what is rendered for a pod, and its way from its creation to its end, against an API."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssm4rec.runtime.cluster import Cluster
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.rayjob import RayCommand, render
from ssm4rec.runtime.rayjob_run import RayJobRun
from tests.kubernetes_api import NAMESPACE, PODS, RAYJOBS, KubernetesApi, kubernetes_api, own_pod

GOLDEN = Path(__file__).parents[1] / "manifests" / "nodes_rayjob.yaml"
COMMAND = RayCommand(
    name="prepare-clicks-0123456789",
    entrypoint="sh /cache/ray/prepare-clicks-0123456789/command.sh",
    workers=2,
    ray_version="2.60.0",
    gpus=1,
    variables=["MLFLOW_RUN_ID", "AWS_REGION", "ABSENT"],
)
SECRET = {"secretKeyRef": {"name": "ssm4rec-object-store", "key": "AWS_SECRET_ACCESS_KEY", "optional": True}}
RUNNING: dict[str, Any] = {"running": {}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    with kubernetes_api(tmp_path) as (found, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield found


def made(**told: Any) -> RayJobRun:
    cluster = Cluster(Cluster.found()._api, NAMESPACE, patience=5)
    return RayJobRun(cluster=cluster, document=render(COMMAND, own_pod(Path("/cache"))), pause=0.02, **told)


def later(step: Callable[[], object], *, once: Callable[[], bool]) -> threading.Thread:
    """Do something as soon as something is so, as a controller does."""

    def work() -> None:
        while not once():
            time.sleep(0.01)
        step()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_head_and_workers_are_like_the_pod_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its secrets stay references, what it may download the cluster may, too; workers have the GPUs that are told."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "0f")
    monkeypatch.delenv("AWS_REGION", raising=False)  # the tests' object store sets it
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not to be passed on")
    pod = own_pod(Path("/cache"))
    pod["metadata"]["labels"]["ssm4rec-downloads"] = "true"
    own = pod["spec"]["containers"][1]
    own["env"].append({"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": SECRET})
    own["resources"]["limits"]["nvidia.com/gpu"] = "2"
    assert render(COMMAND, pod) == yaml.safe_load(GOLDEN.read_text())


def test_the_commands_lines_are_printed_and_those_of_rays_pods_not(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def start(job: dict[str, Any]) -> None:
        for container, number in (("worker", 1), ("worker", 0), ("head", 0), ("submit", 0)):
            pod = api.ray_started(job["metadata"]["name"], container, RUNNING, number)
            api.logs[pod] = [("2026-11-29T22:00:00.100000000Z", f"said by {container}")]
        api.rayjob()["status"] = {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}

    api.on_create = start
    thread = later(lambda: api.ray_ended("Complete", "SUCCEEDED"), once=lambda: "said by submit" in caplog.text)
    end = made().follow()
    thread.join()
    assert (end.complete, end.why) == (True, "SUCCEEDED")
    assert caplog.messages == [
        f"RayJob {COMMAND.name}: created in kubeflow, 2 workers and a head",
        "the command: said by submit",
    ]
    assert api.count("POST", RAYJOBS) == 1
    assert f"{RAYJOBS}/{COMMAND.name}" in api.objects  # its output is to be read first


FAILED = "Job entrypoint command failed with exit code 2, last available logs (truncated to 20,000 chars):\nmore"


@pytest.mark.parametrize(
    ("told", "complete", "why", "status"),
    [
        (("Failed", "FAILED", "AppFailed", FAILED), False, f"AppFailed: {FAILED.splitlines()[0]}", 2),
        (("Failed", "", "DeadlineExceeded", "It took"), False, "DeadlineExceeded: It took", 1),
        (("ValidationFailed", "", "ValidationFailed", "The spec"), False, "ValidationFailed: The spec", 1),
        (("Complete", "STOPPED", "", "Job was intentionally stopped."), False,
         "STOPPED: Job was intentionally stopped.", 1),
        (("Complete", "SUCCEEDED", "", "Job finished successfully."), True, "SUCCEEDED: Job finished successfully.", 1),
    ],
)  # fmt: skip
def test_its_end_is_the_commands(
    api: KubernetesApi, told: tuple[str, ...], complete: bool, why: str, status: int
) -> None:
    """One that was stopped is complete to KubeRay (rayjob_controller.go:344)."""
    api.on_create = lambda _: api.ray_ended(*told)
    end = made().follow()
    assert (end.complete, end.why, end.status) == (complete, why, status)


def test_started_again_it_follows_the_first_one_and_replaces_one_that_failed(api: KubernetesApi) -> None:
    api.keep(RAYJOBS, made().document)
    api.ray_ended("Failed", "FAILED", "AppFailed")
    api.on_create = lambda _: api.ray_ended("Complete", "SUCCEEDED")
    assert made().follow().complete
    assert made().follow().complete
    assert api.count("POST", RAYJOBS) == 1


def test_what_keeps_it_from_starting_is_told_and_given_up(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an operator no pod comes; a worker too many for the quota is waited for."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("ssm4rec.runtime.job_run._QUIET", 0.1)
    said = rf"RayJob {COMMAND.name}: given up .* no pod was made for it; `kubectl describe rayjob .*KubeRay's operator"
    with pytest.raises(InputError, match=said):
        made(start_seconds=0.1).follow()
    assert not [path for path in api.objects if COMMAND.name in path]
    for container in ("head", "worker"):
        api.ray_started(COMMAND.name, container, RUNNING)
    api.on_create = lambda job: job.update(status={"jobDeploymentStatus": "Initializing"})
    thread = later(lambda: api.ray_ended("Complete", "SUCCEEDED"), once=lambda: "not every worker has" in caplog.text)
    assert made(start_seconds=0.1).follow().complete
    thread.join()


def test_a_worker_that_linux_ended_is_told(api: KubernetesApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    def start(job: dict[str, Any]) -> None:
        api.ray_started(COMMAND.name, "worker", {"terminated": {"exitCode": 137, "reason": "OOMKilled"}})
        api.ray_ended("Complete", "SUCCEEDED")

    api.on_create = start
    made().follow()
    assert f"RayJob {COMMAND.name}: a worker ended with status 137 (OOMKilled, pod {COMMAND.name}-worker-0)" in (
        caplog.messages
    )


def test_without_kuberay_or_its_rights_is_one_line(api: KubernetesApi) -> None:
    api.groups = set()
    with pytest.raises(InputError, match=r"the cluster has no ray.io/v1; install what brings it .*ray.io: KubeRay"):
        made().follow()
    api.groups = {"ray.io"}
    api.forbidden = {("create", "rayjobs")}
    with pytest.raises(InputError, match=r'cannot create resource "rayjobs".*`kubectl apply -k manifests/nodes` gra'):
        made().follow()
    assert not [path for path in api.objects if path.startswith((RAYJOBS, f"{PODS}/prepare"))]

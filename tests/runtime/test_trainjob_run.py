"""A TrainJob from its creation to its end, against an API over HTTP: what is printed, what is refused, what is left."""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ssm4rec.runtime.cluster import Cluster
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.trainjob_run import TrainJobRun
from tests.kubernetes_api import JOBSETS, NAMESPACE, PODS, TRAINJOBS, KubernetesApi, kubernetes_api, status

JOB = {
    "apiVersion": "trainer.kubeflow.org/v1alpha1",
    "metadata": {"name": "train-x", "namespace": NAMESPACE},
    "spec": {"trainer": {"numNodes": 2}},
}
RUNNING: dict[str, Any] = {"running": {}}


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    with kubernetes_api(tmp_path) as (found, variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        yield found


def made(**told: Any) -> TrainJobRun:
    cluster = Cluster(Cluster.found()._api, NAMESPACE, patience=5)
    return TrainJobRun(cluster=cluster, document=JOB, pause=0.02, **told)


def later(step: Callable[[], None], *, once: Callable[[], bool]) -> threading.Thread:
    """Do something as soon as something is so, as a controller does."""

    def work() -> None:
        while not once():
            time.sleep(0.01)
        step()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_the_nodes_lines_are_printed_once_each_with_their_rank(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Two lines of one second, of which the second comes after the first was read; the last one comes with the end."""
    caplog.set_level(logging.INFO)

    def start(job: dict[str, Any]) -> None:
        for rank in (1, 0):
            pod = api.started(job["metadata"]["name"], rank, RUNNING)
            api.logs[pod] = [("2026-11-29T22:00:00.100000000Z", f"epoch 0 of {rank}")]

    def go_on() -> None:
        with api.lock:
            api.logs["train-x-node-0-0-abc0"].append(("2026-11-29T22:00:00.200000000Z", "epoch 1"))
            api.logs["train-x-node-0-0-abc0"].append(("2026-11-29T22:00:07.000000000Z", "done"))
            api.ended("Complete")

    api.on_create = start
    thread = later(go_on, once=lambda: "epoch 0 of 0" in caplog.text and "epoch 0 of 1" in caplog.text)
    end = made().follow()
    thread.join()
    assert end.complete
    assert [line for line in caplog.messages if line.startswith("node")] == [
        "node 0: epoch 0 of 0",
        "node 1: epoch 0 of 1",
        "node 0: epoch 1",
        "node 0: done",
    ]
    assert caplog.messages[0] == "TrainJob train-x: created in kubeflow, 2 nodes"
    assert len(caplog.messages) == 5
    assert api.count("POST", TRAINJOBS) == 1
    assert api.count("DELETE", f"{TRAINJOBS}/train-x") == 0  # its output is to be read first


def test_whatever_a_line_holds_it_is_one_line(api: KubernetesApi, caplog: pytest.LogCaptureFixture) -> None:
    """Progress bars, line ends of old Macs, bytes that are not UTF-8, errors that come instead of a line.

    The first machine's clock goes from summer time to winter time: its second line is ten seconds after its first.
    """
    caplog.set_level(logging.INFO)

    def start(job: dict[str, Any]) -> None:
        for rank in (0, 1):
            api.started(job["metadata"]["name"], rank, RUNNING)
        api.logs["train-x-node-0-0-abc0"] = [("2026-10-25T02:59:59.900000000+02:00", "10%\rz 20%")]
        api.logs["train-x-node-0-1-abc0"] = [("2026-10-25T00:59:59.100000000Z", "\udcff and \u2028 more")]
        api.notices["train-x-node-0-1-abc0"] = "unable to retrieve container logs for containerd://1f\n"

    def go_on() -> None:
        with api.lock:
            api.logs["train-x-node-0-0-abc0"].append(("2026-10-25T02:00:09.100000000+01:00", "done"))
            api.ended("Complete")

    api.on_create = start
    looks = f"{PODS}/train-x-node-0-1-abc0/log"
    thread = later(go_on, once=lambda: api.count("GET", looks) > 2)
    assert made().follow().complete
    thread.join()
    assert caplog.messages[1:] == [
        "node 0: 10%\rz 20%",
        "TrainJob train-x: node 1: unable to retrieve container logs for containerd://1f",
        "node 1: \ufffd and \u2028 more",
        "node 0: done",
    ]


def test_a_node_whose_machine_does_not_answer_holds_up_nobody(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Its pods stay for minutes, and the API answers 500 to what asks for their output."""
    caplog.set_level(logging.INFO)

    def start(job: dict[str, Any]) -> None:
        for rank in (0, 1):
            api.logs[api.started("train-x", rank, RUNNING)] = [("2026-11-29T22:00:00.100000000Z", f"of {rank}")]
        api.unreadable = {"train-x-node-0-0-abc0"}

    def go_on() -> None:
        with api.lock:
            api.unreadable = set()
            api.ended("Complete")

    api.on_create = start
    thread = later(go_on, once=lambda: api.count("GET", PODS) > 3)
    assert made().follow().complete
    thread.join()
    assert caplog.messages[1:] == [
        "TrainJob train-x: what node 0 prints cannot be read for now (pod train-x-node-0-0-abc0); its machine may be "
        "lost",
        "node 1: of 1",
        "node 0: of 0",
    ]


def test_started_again_it_follows_the_first_one(api: KubernetesApi) -> None:
    api.keep(TRAINJOBS, {**JOB, "status": {"conditions": []}})
    api.started("train-x", 0, RUNNING)
    thread = later(lambda: api.ended("Complete"), once=lambda: api.count("GET", PODS) > 1)
    assert made().follow().complete
    thread.join()
    assert api.count("POST", TRAINJOBS) == 0


def test_of_two_that_start_at_once_one_makes_it(api: KubernetesApi) -> None:
    """Both see that there is none; the second one's is refused, with 409 AlreadyExists, and it follows the first's."""
    api.on_create = lambda _: api.ended("Complete")
    with api.lock:  # both have asked before either is answered
        ends: list[bool] = []
        threads = [
            threading.Thread(target=lambda: ends.append(made().follow().complete), daemon=True) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join()
    assert ends == [True, True]
    assert len([path for path in api.objects if path.startswith(TRAINJOBS)]) == 1


def test_a_failed_one_is_replaced_once_its_jobset_is_gone(api: KubernetesApi) -> None:
    """Else the new one takes the old JobSet's end for its own (plugins/jobset/jobset.go, Status)."""
    api.keep(TRAINJOBS, JOB)
    api.ended("Failed", "FailedJobs", "jobset failed due to one or more job failures")
    api.objects[f"{JOBSETS}/train-x"] = {"metadata": {"name": "train-x"}}
    api.on_create = lambda _: api.ended("Complete")
    thread = later(
        lambda: api.objects.pop(f"{JOBSETS}/train-x"), once=lambda: api.count("GET", f"{JOBSETS}/train-x") > 2
    )
    assert made().follow().complete
    thread.join()
    assert api.count("DELETE", f"{TRAINJOBS}/train-x") == 1
    assert api.asked.index(("POST", TRAINJOBS)) > api.asked.index(("GET", f"{JOBSETS}/train-x")) + 2


def test_a_name_that_is_never_free_is_given_up(api: KubernetesApi) -> None:
    """Neither found nor makeable: 409 is also the answer when a quota's count changed meanwhile."""
    absent = status(404, "NotFound", "none")
    api.refused = [
        absent,
        absent,
        status(409, "Conflict", "the object has been modified; please apply your changes"),
    ] * 99
    with pytest.raises(InputError, match=r"TrainJob train-x: not made in 0 seconds, as an earlier one is not gone"):
        made(start_seconds=0.2).follow()
    assert 2 <= api.count("POST", TRAINJOBS) <= 12  # with a pause after each


def test_one_that_is_made_again_by_somebody_else_is_not_its_own(api: KubernetesApi) -> None:
    api.on_create = lambda job: api.started("train-x", 0, RUNNING) and None
    thread = later(lambda: api.keep(TRAINJOBS, JOB) and None, once=lambda: api.count("GET", PODS) > 1)
    with pytest.raises(InputError, match="it was deleted while it ran"):
        made().follow()
    thread.join()
    assert f"{TRAINJOBS}/train-x" in api.objects


def test_a_failed_training_is_told_with_its_reason_and_stays_to_be_looked_at(api: KubernetesApi) -> None:
    api.on_create = lambda _: api.ended("Failed", "DeadlineExceeded", "TrainJob exceeded its active deadline")
    end = made().follow()
    assert (end.complete, end.why) == (False, "DeadlineExceeded: TrainJob exceeded its active deadline")
    assert f"{TRAINJOBS}/train-x" in api.objects


def test_an_image_that_cannot_be_pulled_is_given_up_with_the_pods_reason(api: KubernetesApi) -> None:
    """It waits for a free node as long as it may run, though."""
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "ssm4rec-train:0.1.0"'}}
    api.on_create = lambda job: api.started("train-x", 1, waiting) and None
    with pytest.raises(InputError) as refused:
        made(start_seconds=0.2).follow()
    assert str(refused.value) == (
        "TrainJob train-x: given up after 0 seconds without a start: train-x-node-0-1-abc0 does not start "
        '(ImagePullBackOff: Back-off pulling image "ssm4rec-train:0.1.0")'
    )
    assert not [path for path in api.objects if "train-x" in path]  # nothing trains for nobody


def test_it_waits_for_a_free_node_and_says_so_once(api: KubernetesApi, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    api.on_create = lambda job: api.waits("train-x", "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.")
    thread = later(lambda: api.ended("Complete"), once=lambda: api.count("GET", PODS) > 15)
    assert made(start_seconds=0.1).follow().complete
    thread.join()
    assert caplog.text.count("waits for a node: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu.") == 1


SUSPENDED: dict[str, Any] = {"conditions": [{"type": "Suspended", "status": "True", "reason": "Suspended"}]}


def test_a_suspended_one_is_waited_for_and_that_is_said_once(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no pods; Kueue resumes it when its turn comes."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("ssm4rec.runtime.job_run._QUIET", 0.1)
    api.on_create = lambda job: job.update(status=SUSPENDED)
    thread = later(lambda: api.ended("Complete"), once=lambda: api.count("GET", PODS) > 15)
    assert made(start_seconds=0.1).follow().complete
    thread.join()
    assert caplog.messages[1:] == ["TrainJob train-x: suspended, until somebody, such as Kueue, resumes it"]


def test_nodes_that_do_not_come_are_told_of(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quota lets one of two pods be made, and then the volume of the second one does not come."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("ssm4rec.runtime.job_run._QUIET", 0.1)
    creating = {"waiting": {"reason": "ContainerCreating"}}
    api.on_create = lambda job: api.started("train-x", 0, RUNNING) and None
    threads = [
        later(lambda: api.started("train-x", 1, creating) and None, once=lambda: "not every node has a" in caplog.text),
        later(lambda: api.ended("Complete"), once=lambda: "not every node has started" in caplog.text),
    ]
    assert made(start_seconds=0.05).follow().complete
    for thread in threads:
        thread.join()
    assert caplog.messages[1:] == [
        "TrainJob train-x: not every node has a pod; `kubectl describe job train-x-node-0` says why",
        "TrainJob train-x: not every node has started; `kubectl describe pods -l jobset.sigs.k8s.io/jobset-name="
        "train-x` says whether an image or a volume takes long",
    ]


def test_what_kubernetes_takes_away_is_told(api: KubernetesApi, caplog: pytest.LogCaptureFixture) -> None:
    """Of a pod that was evicted by its machine, and one that another pod pushed aside, no container says it."""
    caplog.set_level(logging.INFO)
    full = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
    pushed = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "by another"}

    def start(job: dict[str, Any]) -> None:
        for rank, state in enumerate((full, {"phase": "Running", "conditions": [pushed]})):
            api.objects[f"{PODS}/{api.started('train-x', rank, RUNNING)}"]["status"] = state
        api.ended("Failed")

    api.on_create = start
    made().follow()
    assert caplog.messages[1:] == [
        "TrainJob train-x: node 0 was ended by Kubernetes (Evicted: The node was low on resource: memory., pod "
        "train-x-node-0-0-abc0)",
        "TrainJob train-x: node 1 was ended by Kubernetes (PreemptionByScheduler: by another, pod "
        "train-x-node-0-1-abc0)",
    ]


def test_without_a_controller_no_pod_is_made_and_it_is_given_up(api: KubernetesApi) -> None:
    with pytest.raises(InputError, match=r"no pod was made for it; `kubectl describe trainjob train-x` says why"):
        made(start_seconds=0.1).follow()


def test_restarts_are_told_and_the_new_pods_lines_printed(api: KubernetesApi, caplog: pytest.LogCaptureFixture) -> None:
    """And why: a process that Linux ended for its memory said nothing itself."""
    caplog.set_level(logging.INFO)

    def start(job: dict[str, Any]) -> None:
        for attempt, state in enumerate(({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, RUNNING)):
            pod = api.started("train-x", 0, state, attempt)
            api.logs[pod] = [("2026-11-29T22:00:00.100000000Z", f"attempt {attempt}")]
        api.ended("Complete")

    api.on_create = start
    made().follow()
    assert "TrainJob train-x: all nodes were started again, 1 times by now" in caplog.messages
    assert "TrainJob train-x: node 0 ended with status 137 (OOMKilled, pod train-x-node-0-0-abc0)" in caplog.messages
    assert {"node 0: attempt 0", "node 0: attempt 1"} <= set(caplog.messages)


def test_what_could_not_be_deleted_is_told(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssm4rec.runtime.cluster._PAUSE", 0.01)
    api.forbidden = {("delete", "trainjobs")}
    with pytest.raises(InputError, match="given up after 0 seconds"):
        made(start_seconds=0.05).follow()
    assert caplog.messages[-1].startswith("TrainJob train-x: is still there, as it was not deleted (Kubernetes refuses")
    assert caplog.messages[-1].endswith("; `kubectl delete trainjob train-x -n kubeflow`")


def test_deleted_by_somebody_else(api: KubernetesApi) -> None:
    api.on_create = lambda job: api.started("train-x", 0, RUNNING) and None
    thread = later(lambda: api.objects.pop(f"{TRAINJOBS}/train-x") and None, once=lambda: api.count("GET", PODS) > 1)
    with pytest.raises(InputError, match="TrainJob train-x: it was deleted while it ran; start the same again"):
        made().follow()
    thread.join()


WITHOUT_RBAC = (
    'Kubernetes refuses trainjobs: trainjobs.trainer.kubeflow.org is forbidden: User "system:serviceaccount:kubeflow:'
    'pipeline-runner" cannot create resource "trainjobs" in API group "trainer.kubeflow.org" in the namespace '
    '"kubeflow"; `kubectl apply -k manifests/nodes` grants it'
)
NO_RUNTIME = (
    'admission webhook "validator.trainjob.trainer.kubeflow.org" denied the request: spec.runtimeRef: Invalid value: '
    'TrainingRuntime.trainer.kubeflow.org "ssm4rec-nodes" not found: specified trainingRuntime must be created before '
    "the TrainJob is created"
)


def test_what_kubernetes_refuses_is_one_line_with_its_own_words(api: KubernetesApi) -> None:
    """The webhook's denial is a 403, too (pkg/webhooks/trainjob_webhook.go, pkg/runtime/core/trainingruntime.go)."""
    api.forbidden = {("create", "trainjobs")}
    with pytest.raises(InputError) as refused:
        made().follow()
    assert str(refused.value) == WITHOUT_RBAC
    api.forbidden = set()
    api.refused = [
        status(404, "NotFound", "none"),
        status(404, "NotFound", "none"),
        status(403, "Forbidden", NO_RUNTIME),
    ]
    with pytest.raises(InputError) as refused:
        made().follow()
    assert str(refused.value) == f"Kubernetes refuses trainjobs: {NO_RUNTIME}"
    strict = 'strict decoding error: unknown field "spec.runtimePatches"'  # of Trainer 2.1
    api.refused = [status(404, "NotFound", "none"), status(404, "NotFound", "none"), status(400, "BadRequest", strict)]
    with pytest.raises(InputError, match="Kubernetes refuses trainjobs: strict decoding error"):
        made().follow()


def test_without_trainer_the_cluster_does_not_know_the_kind(api: KubernetesApi) -> None:
    api.groups = set()
    with pytest.raises(InputError, match=r"the cluster has no trainer.kubeflow.org/v1alpha1; install what brings it"):
        made().follow()


def test_an_api_that_is_away_for_a_while_is_asked_again(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ssm4rec.runtime.cluster._PAUSE", 0.01)
    api.on_create = lambda _: api.ended("Complete")
    api.refused = [status(503, "ServiceUnavailable", "the server is currently unable to handle the request")] * 3
    assert made().follow().complete
    cluster = Cluster.found()
    impatient = Cluster(cluster._api, NAMESPACE, patience=0.05)
    api.refused = [status(500, "InternalError", "failed calling webhook")] * 1000
    with pytest.raises(
        InputError, match=r"Kubernetes' API at http://127.0.0.1:\d+ does not answer: failed calling web"
    ):
        impatient.get(f"{PODS}/x")


def test_connections_that_break_are_made_again(
    api: KubernetesApi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each request once, after the API did what it was asked; also in the middle of its answer."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("ssm4rec.runtime.cluster._PAUSE", 0.01)

    def start(job: dict[str, Any]) -> None:
        api.logs[api.started("train-x", 0, RUNNING)] = [("2026-11-29T22:00:00.100000000Z", "why it failed")]
        api.ended("Failed")

    api.on_create = start
    api.dropped = [False, None, True, None] * 5
    assert not made().follow().complete
    assert "node 0: why it failed" in caplog.messages
    assert [path for path in api.objects if path.startswith(TRAINJOBS)] == [f"{TRAINJOBS}/train-x"]
    api.on_create = lambda _: api.ended("Complete")
    api.refused = [status(429, "TooManyRequests", "the server has received too many requests")] * 3
    assert made().follow().complete


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (status(401, "Unauthorized", "Unauthorized"), "Kubernetes refuses train-x: Unauthorized"),
        (
            status(422, "Invalid", "spec.trainer.numNodes: Invalid value"),
            "Kubernetes refuses train-x: spec.trainer.num",
        ),
        ((200, "<html>Log in"), f"no document of Kubernetes, but '<html>Log in', is the answer to {TRAINJOBS}/train-x"),
    ],
)
def test_an_answer_that_waiting_does_not_mend_is_one_line(api: KubernetesApi, answer: Any, said: str) -> None:
    api.refused = [answer] * 2
    with pytest.raises(InputError) as refused:
        made().follow()
    assert str(refused.value).startswith(said)


def test_outside_a_cluster_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        InputError, match=r"no cluster is known here \(Service host/port is not set.\); run this in a pod"
    ):
        Cluster.found()


PROGRAM = """
import sys
from ssm4rec.runtime.cluster import Cluster
from ssm4rec.runtime.trainjob_run import TrainJobRun
from ssm4rec.settings.command_line import StageParser, run_stage

VERSION = "trainer.kubeflow.org/v1alpha1"
JOB = {"apiVersion": VERSION, "metadata": {"name": "train-x"}, "spec": {"trainer": {"numNodes": 2}}}

def run(options):
    TrainJobRun(cluster=Cluster.found(), document=JOB, pause=0.05).follow()

run_stage(StageParser("stage", "A stage."), run)
"""


def test_a_stopped_task_deletes_it_and_a_killed_one_leaves_it_to_the_next(api: KubernetesApi) -> None:
    """SIGTERM is what Kubernetes sends to a pod that is deleted; SIGKILL is a lost node."""
    api.on_create = lambda job: api.started("train-x", 0, RUNNING) and None
    for kill, left, said in (
        (True, 1, ""),
        (False, 0, "TrainJob train-x: deleted\npython -m stage: ended by SIGTERM\n"),
    ):
        looks = api.count("GET", PODS)
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, text=True)
        while api.count("GET", PODS) < looks + 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill() if kill else process.terminate()
        _, told = process.communicate()
        assert told.endswith(said)
        assert process.returncode == (-9 if kill else 143)
        assert len([path for path in api.objects if path.startswith(TRAINJOBS)]) == left
    assert api.count("POST", TRAINJOBS) == 1  # the second process found the first one's

"""Docker does here what KubeRay does with a RayJob: each pod is a container, and all share one loopback network.

References are to ray-project/kuberay v1.7.0, ray-operator/.
"""

import json
import shlex
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.containers import images
from tests.containers.engine import Engine
from tests.containers.servers import wait
from tests.kubernetes_api import Document, KubernetesApi

HEAD = "127.0.0.1:6379"
DASHBOARD = "http://127.0.0.1:8265"
SHARED_MEMORY = "--shm-size=1g"
"""KubeRay's own volume at /dev/shm (controllers/ray/common/pod.go)."""
AGENT = 52365
"""Port of a node's own health (utils/constant.go, DefaultDashboardAgentListenPort)."""


@dataclass(frozen=True)
class KubeRay:
    """The operator, as far as one RayJob needs it; ``cache`` is the volume, mounted at /cache."""

    engine: Engine
    image: str
    cache: Path
    api: KubernetesApi

    def handle(self, job: Document) -> None:
        """Run a RayJob to its end and keep its status and the submitter's lines, as its controller does."""
        name = job["metadata"]["name"]
        with self.cluster(name, job["spec"]["rayClusterSpec"]) as head:
            submitter = job["spec"]["submitterPodTemplate"]
            with self.pod(submitter, submit_command(name, job["spec"]["entrypoint"]), head, "-ce") as submitted:
                status = int(self.engine.docker("wait", submitted))
                printed = self.engine.docker("logs", "--timestamps", submitted)
            info = json.loads(self.in_head(head, f"{DASHBOARD}/api/jobs/{name}"))
        stamped = [line.split(" ", 1) for line in printed.splitlines()]
        with self.api.lock:
            pod = self.api.ray_started(name, "submit", {"terminated": {"exitCode": status}})
            self.api.logs[pod] = [(stamp, text) for stamp, text in stamped]
            done = info["status"] == "SUCCEEDED"
            reason = "" if done else "AppFailed"
            self.api.ray_ended("Complete" if done else "Failed", info["status"], reason, info["message"])

    @contextmanager
    def cluster(self, name: str, told: Document) -> Iterator[str]:
        """Yield the container of a head that all workers have joined."""
        group, [workers] = told["headGroupSpec"], told["workerGroupSpecs"]
        with ExitStack() as stack:
            head = stack.enter_context(self.pod(group["template"], start_command(group, "--head", AGENT), ""))
            self.api.ray_started(name, "head", {"running": {}})
            self.await_health(head, AGENT)
            self.check_wait_for_head(head)
            for number in range(workers["replicas"]):
                # All ports of an address are a pod's own; some are of every address.
                agent = AGENT + 1 + number
                role = f"--address={HEAD} --node-ip-address=127.0.0.{2 + number}"
                command = start_command(workers, role, agent)
                self.api.ray_started(name, "worker", {"running": {}}, number)
                node = stack.enter_context(self.pod(workers["template"], command, head))
                self.await_health(node, agent)
            yield head

    @contextmanager
    def pod(self, template: Document, command: str, head: str, shell: str = "-c") -> Iterator[str]:
        """Yield a container as the template has it, in the head's network; the first one is the head."""
        [wanted] = template["spec"]["containers"]
        assert wanted["securityContext"]["readOnlyRootFilesystem"]
        user = template["spec"]["securityContext"]
        assert {"mountPath": "/tmp", "name": "temporary"} in wanted["volumeMounts"]
        variables = {one["name"]: one["value"] for one in wanted.get("env", ()) if "value" in one}
        # The submitter is told by a flag.
        variables |= {"PYTHONUNBUFFERED": "1"} if shell == "-ce" else {"RAY_ADDRESS": HEAD}
        flags = (
            f"--network=container:{head}" if head else "--network=none",
            f"--user={user['runAsUser']}:{user['runAsGroup']}",
            f"--volume={self.cache}:/cache",
            SHARED_MEMORY,
            *(f"--env={name}={value}" for name, value in variables.items()),
        )
        with images.container(self.engine, self.image, "/bin/bash", shell, "--", command, flags=flags) as found:
            yield found

    def check_wait_for_head(self, head: str) -> None:
        """Do what a worker's pod does first, in 256 MiB (controllers/ray/common/pod.go, DefaultWorkerPodTemplate)."""
        flags = (*images.LOCKED, f"--network=container:{head}", "--memory=256m")
        self.engine.docker("run", "--rm", *flags, self.image, "ray", "health-check", f"--address={HEAD}")

    def await_health(self, node: str, port: int) -> None:
        """Wait until a node's probe succeeds (controllers/ray/common/pod.go, initLivenessAndReadinessProbe)."""

        def healthy() -> bool:
            running = self.engine.docker("inspect", "--format", "{{.State.Running}}", node).strip()
            assert running == "true", self.engine.docker("logs", node)
            return self.engine.try_docker("exec", node, *fetch(f"http://127.0.0.1:{port}/api/healthz")).returncode == 0

        began = time.monotonic()
        wait(healthy, 120, f"no health at {port}: {self.engine.try_docker('logs', node).stdout}")
        print(f"{datetime.now(UTC):%H:%M:%S} node with port {port} healthy after {time.monotonic() - began:.1f} s")

    def in_head(self, head: str, address: str) -> str:
        """Return what an address of the cluster's network answers."""
        return self.engine.docker("exec", head, *fetch(address))


def fetch(address: str) -> list[str]:
    """Return a command that prints what an address answers, and fails unless that is well."""
    text = f"import urllib.request as u; print(u.urlopen({address!r}, timeout=5).read().decode())"
    return ["python", "-c", text]


def start_command(group: Document, role: str, agent: int) -> str:
    """Return what a head's or worker's container runs (controllers/ray/common/pod.go, BuildPod)."""
    [wanted] = group["template"]["spec"]["containers"]
    told: dict[str, Any] = {"num-cpus": wanted["resources"]["requests"]["cpu"], **group["rayStartParams"]}
    told |= {"metrics-export-port": 8080 + agent - AGENT, "dashboard-agent-listen-port": agent}
    flags = " ".join(f"--{name}={value}" for name, value in sorted(told.items()))
    return f"ulimit -n 65536; ray start {role} --block {flags}"


def submit_command(name: str, entrypoint: str) -> str:
    """Return what the submitter's container runs (controllers/ray/common/job.go, BuildJobSubmitCommand)."""
    probe = f"import urllib.request; r=urllib.request.urlopen('{DASHBOARD}/api/gcs_healthz', timeout=5); "
    probe += "exit(0 if b'success' in r.read() else 1)"
    address = f"--address {DASHBOARD}"
    return (
        f"until python -c {shlex.quote(probe)} >/dev/null 2>&1 ; do echo waiting ; sleep 2 ; done ; "
        f"if ! ray job status {address} {name} >/dev/null 2>&1 ; "
        f"then ray job submit {address} --no-wait --submission-id {name} -- {entrypoint} ; fi ; "
        f"ray job logs {address} --follow {name}"
    )

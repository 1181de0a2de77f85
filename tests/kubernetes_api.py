"""A Kubernetes API over HTTP that keeps what it is sent and answers as a real one does, and a pod of it to run in.

Status codes and the Status documents: Kubernetes' API conventions ("HTTP Status codes", "Response Status Kind"). What
Kubeflow Trainer would do, a test does by :meth:`KubernetesApi.started` and :meth:`KubernetesApi.ended`, and what
KubeRay would by :meth:`KubernetesApi.ray_started` and :meth:`KubernetesApi.ray_ended`; references are to
kubeflow/trainer v2.3.0 and ray-project/kuberay v1.7.0.
"""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

Document = dict[str, Any]

NAMESPACE = "kubeflow"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
CLAIMS = f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims"
TRAINJOBS = f"/apis/trainer.kubeflow.org/v1alpha1/namespaces/{NAMESPACE}/trainjobs"
RAYJOBS = f"/apis/ray.io/v1/namespaces/{NAMESPACE}/rayjobs"
JOBSETS = f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{NAMESPACE}/jobsets"
SERVICE_ACCOUNT = f"system:serviceaccount:{NAMESPACE}:pipeline-runner"
TOKEN = "the-token-of-the-pod"


def own_pod(cache: Path, name: str = "run-x-1") -> Document:
    """A task's pod as KFP 2.17 and Argo make it, as far as it matters: ``cache`` is where the claim is mounted."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"workflows.argoproj.io/workflow": "run-x"},
            "ownerReferences": [
                {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "run-x", "uid": "42",
                 "controller": True, "blockOwnerDeletion": True}
            ],
        },
        "spec": {
            "activeDeadlineSeconds": 43200,
            "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
            "tolerations": [
                {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                 "tolerationSeconds": 300},
            ],
            "volumes": [
                {"name": "ssm4rec-cache", "persistentVolumeClaim": {"claimName": "ssm4rec-cache"}},
                {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
            ],
            "containers": [
                {"name": "wait", "image": "quay.io/argoproj/argoexec:v4.0.5"},
                {
                    "name": "main",
                    "image": "registry.example.org/team/ssm4rec-train:0.1.0",
                    "env": [
                        {"name": "SSM4REC_DEVICE", "value": "cuda"},
                        {"name": "KFP_POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    ],
                    "resources": {
                        "requests": {"cpu": "4", "memory": "16Gi"},
                        "limits": {"memory": "64Gi"},
                    },
                    "volumeMounts": [
                        {"name": "ssm4rec-cache", "mountPath": str(cache)},
                        {"name": "shared-memory", "mountPath": "/dev/shm"},
                    ],
                },
            ],
        },
    }  # fmt: skip


def claim(*modes: str) -> Document:
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": "ssm4rec-cache"}, "spec": {"accessModes": [*modes]}}


def status(code: int, why: str, message: str) -> tuple[int, Document]:
    failure = {"kind": "Status", "apiVersion": "v1", "status": "Failure"}
    return code, {**failure, "code": code, "reason": why, "message": message}


@dataclass
class KubernetesApi:
    """What the API holds and was asked; ``forbidden`` are (verb, resource) that the service account may not.

    ``on_create`` is called with a TrainJob or RayJob once it is kept, as a controller would see it. Of pods that are
    ``unreadable`` the machine does not answer. Connections are ``dropped``, before the next answers
    (False), in their middle (True), or not (None).
    """

    address: str = ""
    objects: dict[str, Document] = field(default_factory=dict)
    logs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    notices: dict[str, str] = field(default_factory=dict)
    groups: set[str] = field(default_factory=lambda: {"trainer.kubeflow.org", "jobset.x-k8s.io", "ray.io"})
    forbidden: set[tuple[str, str]] = field(default_factory=set)
    asked: list[tuple[str, str]] = field(default_factory=list)
    refused: list[tuple[int, Document]] = field(default_factory=list)
    on_create: Callable[[Document], None] = lambda _: None
    made: int = 0
    unreadable: set[str] = field(default_factory=set)
    dropped: list[bool | None] = field(default_factory=list)
    lock: Any = field(default_factory=threading.RLock)

    def count(self, method: str, path: str) -> int:
        return self.asked.count((method, path))

    def keep(self, path: str, document: Document) -> Document:
        """Keep a document of a kind's path, with a uid of its own, as one that is made."""
        self.made += 1
        metadata = {**document["metadata"], "uid": str(self.made), "resourceVersion": "1"}
        found = self.objects[f"{path}/{metadata['name']}"] = {**document, "metadata": metadata}
        return found

    def trainjob(self) -> Document:
        [found] = [one for path, one in self.objects.items() if path.startswith(TRAINJOBS)]
        return found

    def started(self, name: str, rank: int, state: Document, attempt: int = 0) -> str:
        """Keep a node's pod as JobSet makes it (labels: jobset.sigs.k8s.io), in a state of its container."""
        pod = f"{name}-node-0-{rank}-abc{attempt}"
        labels = {
            "jobset.sigs.k8s.io/jobset-name": name,
            "jobset.sigs.k8s.io/restart-attempt": str(attempt),
            "batch.kubernetes.io/job-completion-index": str(rank),
        }
        self.objects[f"{PODS}/{pod}"] = {
            "metadata": {"name": pod, "labels": labels},
            "status": {"containerStatuses": [{"name": "node", "state": state}]},
        }
        return pod

    def waits(self, name: str, message: str) -> None:
        """Keep a pod that has no node yet, as the scheduler leaves it."""
        pod = self.started(name, 0, {})
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        self.objects[f"{PODS}/{pod}"]["status"] = {"phase": "Pending", "conditions": [condition]}

    def ended(self, kind: str, why: str = "AllJobsCompleted", message: str = "jobset completed successfully") -> None:
        """Set a TrainJob's last condition, which is its JobSet's (plugins/jobset/jobset.go, Status)."""
        conditions = [{"type": kind, "status": "True", "reason": why, "message": message}]
        self.trainjob()["status"] = {"conditions": conditions}

    def rayjob(self) -> Document:
        [found] = [one for path, one in self.objects.items() if path.startswith(RAYJOBS)]
        return found

    def ray_started(self, name: str, container: str, state: Document, number: int = 0) -> str:
        """Keep a pod of a RayJob as KubeRay makes it of a template (controllers/ray/common/pod.go, labelPod)."""
        pod = f"{name}-{container}-{number}"
        labels = {"ssm4rec/rayjob": name, "ray.io/cluster": f"{name}-x1y2z", "app.kubernetes.io/name": "kuberay"}
        self.objects[f"{PODS}/{pod}"] = {
            "metadata": {"name": pod, "labels": labels},
            "spec": {"containers": [{"name": container}]},
            "status": {"containerStatuses": [{"name": container, "state": state}]},
        }
        return pod

    def ray_ended(self, deployment: str, job: str, reason: str = "", message: str = "") -> None:
        """Set a RayJob's status as its controller does (controllers/ray/rayjob_controller.go)."""
        status = {"jobDeploymentStatus": deployment, "jobStatus": job, "reason": reason, "message": message}
        self.rayjob()["status"] = {key: value for key, value in status.items() if value}

    def answer(self, method: str, path: str, query: dict[str, str], sent: Document | None) -> tuple[int, Any]:
        with self.lock:
            self.asked.append((method, path))
            if self.refused:
                return self.refused.pop(0)
            group = path.split("/")[2] if path.startswith("/apis/") else ""
            if group and group not in self.groups:
                return 404, "404 page not found\n"
            resource = path.split(f"/namespaces/{NAMESPACE}/")[1].split("/")
            kind = "pods/log" if resource[-1] == "log" else resource[0]
            verb = {"POST": "create", "DELETE": "delete"}.get(method, "get" if len(resource) > 1 else "list")
            if (verb, kind) in self.forbidden:
                group_text = f'{kind}.{group} is forbidden: User "{SERVICE_ACCOUNT}" cannot {verb} resource "{kind}"'
                message = f'{group_text} in API group "{group}" in the namespace "{NAMESPACE}"'
                return status(403, "Forbidden", message)
            if kind == "pods/log":
                return self._log(resource[1], query)
            if verb == "list":
                return 200, {"kind": "List", "items": self._selected(path, query.get("labelSelector", ""))}
            return self._one(verb, path, sent)

    def _one(self, verb: str, path: str, sent: Document | None) -> tuple[int, Any]:
        if verb == "create":
            assert sent
            place = f"{path}/{sent['metadata']['name']}"
            if place in self.objects:
                return status(409, "AlreadyExists", f'"{sent["metadata"]["name"]}" already exists')
            made = self.keep(path, sent)
            if path in (TRAINJOBS, RAYJOBS):
                self.on_create(made)
            return 201, made
        name = path.rpartition("/")[2]
        if path not in self.objects:
            return status(404, "NotFound", f'"{name}" not found')
        if verb == "delete":
            assert sent
            # Else the name is free before its pods are gone.
            assert (sent["kind"], sent["propagationPolicy"]) == ("DeleteOptions", "Foreground")
            own, wanted = self.objects[path]["metadata"]["uid"], sent.get("preconditions", {}).get("uid")
            if wanted not in (None, own):
                return status(409, "Conflict", f"the UID in the precondition ({wanted}) does not match ({own})")
            del self.objects[path]
            # Kubernetes' garbage collector deletes what belongs to it.
            for other in [other for other in self.objects if other.startswith(f"{PODS}/{name}-")]:
                del self.objects[other]
            return 200, {"kind": "Status", "status": "Success"}
        return 200, self.objects[path]

    def _selected(self, path: str, selector: str) -> list[Document]:
        key, _, value = selector.partition("=")
        found = [one for place, one in self.objects.items() if place.startswith(f"{path}/")]
        return [one for one in found if one["metadata"].get("labels", {}).get(key) == value]

    def _log(self, pod: str, query: dict[str, str]) -> tuple[int, Any]:
        if pod in self.unreadable:
            return status(500, "InternalError", 'Get "https://10.0.0.7:10250/containerLogs": dial tcp: i/o timeout')
        [container] = self.objects[f"{PODS}/{pod}"]["status"].get("containerStatuses", [{"name": "node"}])
        state, name = container.get("state", {}), container["name"]
        if not state.keys() & {"running", "terminated"}:
            return status(400, "BadRequest", f'container "{name}" in pod "{pod}" is waiting to start')
        assert (query["container"], query["timestamps"]) == (name, "true")
        since = query.get("sinceTime", "1970-01-01T00:00:00Z")
        assert "." not in since  # a time in whole seconds
        first = datetime.fromisoformat(since)
        lines = [(stamp, text) for stamp, text in self.logs.get(pod, []) if datetime.fromisoformat(stamp) >= first]
        return 200, self.notices.get(pod, "") + "".join(f"{stamp} {text}\n" for stamp, text in lines)


class _Handler(BaseHTTPRequestHandler):
    api: KubernetesApi

    def _answer(self) -> None:
        assert self.headers["Authorization"].split() in (["Bearer", TOKEN], ["bearer", TOKEN])
        address = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(address.query).items()}
        length = int(self.headers.get("Content-Length") or 0)
        sent = json.loads(self.rfile.read(length)) if length else None
        if self.command == "POST":
            assert query == {"fieldValidation": "Strict"}
        code, found = self.api.answer(self.command, address.path, query, sent)
        # Surrogates stand for bytes that are not UTF-8.
        body = (found if isinstance(found, str) else json.dumps(found)).encode(errors="surrogateescape")
        dropped = self.api.dropped.pop(0) if self.api.dropped else None
        if dropped is False:
            self.close_connection = True
            return
        self.send_response(code)
        self.send_header("Content-Length", str(len(body) + 9 if dropped else len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = bool(dropped)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the base class's names

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


@contextmanager
def kubernetes_api(
    folder: Path, context: ssl.SSLContext | None = None
) -> Iterator[tuple[KubernetesApi, dict[str, str]]]:
    """Yield an API with a task's pod and its claim, and the variables by which a process is in that pod."""
    api = KubernetesApi()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": api}))
    server.daemon_threads = True
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    api.address = f"http://127.0.0.1:{server.server_port}"
    api.objects |= {f"{PODS}/run-x-1": own_pod(folder / "cache"), f"{CLAIMS}/ssm4rec-cache": claim("ReadWriteMany")}
    config = {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": NAMESPACE}}],
        "clusters": [{"name": "c", "cluster": {"server": api.address}}],
        "users": [{"name": "u", "user": {"token": TOKEN}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield api, {"KUBECONFIG": str(folder / "kubeconfig"), "KFP_POD_NAME": "run-x-1"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

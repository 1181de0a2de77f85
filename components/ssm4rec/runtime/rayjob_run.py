"""A RayJob that is created and followed: its command's lines, its state and what keeps pods from starting.

What KubeRay does is read from ray-project/kuberay v1.7.0, ray-operator/: it makes a cluster of the RayJob's pods, then
a pod that hands the command to the cluster and prints what it prints (controllers/ray/common/job.go).
"""

import re
from typing import ClassVar, Final

from ssm4rec.runtime.cluster import Document
from ssm4rec.runtime.job_run import JobEnd, JobRun, Missing
from ssm4rec.runtime.rayjob import HEAD, JOB_LABEL, SUBMITTER, WORKER

_ENDS: Final = ("Complete", "Failed", "ValidationFailed")
"""Of ``jobDeploymentStatus`` (apis/ray/v1/rayjob_types.go)."""
_STATUS: Final = re.compile(r"failed with exit code (\d+)")
"""In the message that Ray's job supervisor leaves, and KubeRay repeats (2.60.0, dashboard/modules/job)."""
_CALLED: Final = {HEAD: "Ray's head", WORKER: "a worker", SUBMITTER: "the command"}
_ORDER: Final = (SUBMITTER, HEAD, WORKER)


class RayJobRun(JobRun):
    """A RayJob from its creation to its end; ``document`` is as ``rayjob.render`` makes it."""

    KIND: ClassVar[str] = "RayJob"
    RESOURCES: ClassVar[str] = "rayjobs"
    MADE: ClassVar[str] = "rayclusters,pods"
    CONTAINER: ClassVar[str] = SUBMITTER
    MADE_AGAIN: ClassVar[str] = "it is made again"

    @property
    def _workers(self) -> int:
        [group] = self.document["spec"]["rayClusterSpec"]["workerGroupSpecs"]
        found: int = group["replicas"]
        return found

    @property
    def size(self) -> str:
        """How many pods."""
        return f"{self._workers} workers and a head"

    @property
    def selector(self) -> str:
        """Our label of all its pods."""
        return f"{JOB_LABEL}={self.name}"

    def in_order(self, pods: list[Document]) -> list[Document]:
        """Return the pod that prints the command's lines, the head, then the workers by their names."""
        return sorted(pods, key=lambda pod: (_ORDER.index(_container(pod)), pod["metadata"]["name"]))

    def name_of(self, pod: Document) -> str:
        """Return what a pod is called by its container."""
        return _CALLED[_container(pod)]

    def prints(self, pod: Document) -> bool:
        """Return whether it is the pod that prints the command's lines."""
        return _container(pod) == SUBMITTER

    def end(self, job: Document) -> JobEnd | None:
        """Return how it ended: Ray's own state of the command decides, as KubeRay calls one stopped complete, too."""
        status = job.get("status", {})
        if status.get("jobDeploymentStatus") not in _ENDS:
            return None
        message = str(status.get("message", "")).partition("\n")[0]
        why = ": ".join(filter(None, (status.get("reason") or status.get("jobStatus", ""), message)))
        told = _STATUS.search(message)
        complete = (status["jobDeploymentStatus"], status.get("jobStatus")) == ("Complete", "SUCCEEDED")
        return JobEnd(complete, why, int(told[1]) if told else 1)

    def missing(self, job: Document, pods: list[Document]) -> Missing | None:
        """Return what keeps a pod from starting, None if nothing does."""
        if job.get("status", {}).get("jobDeploymentStatus") in ("Suspending", "Suspended"):
            return Missing(False, False, "suspended, until somebody, such as Kueue, resumes it")
        if not pods:
            why = f"`kubectl describe rayjob {self.name}` says why, if KubeRay's operator runs"
            return Missing(True, False, f"no pod was made for it; {why}")
        missing = [*self.waiting(pods)]
        if len([pod for pod in pods if _container(pod) != SUBMITTER]) <= self._workers:
            why = f"`kubectl describe rayclusters -n {self.cluster.namespace}` says why"
            missing.append(Missing(False, False, f"not every worker has a pod; {why}"))
        return max(missing, default=None)


def _container(pod: Document) -> str:
    """Return the name of the container that we gave a pod; KubeRay may add others after it."""
    name: str = pod["spec"]["containers"][0]["name"]
    return name

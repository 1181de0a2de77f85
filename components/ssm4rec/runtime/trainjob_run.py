"""A TrainJob that is created and followed: its nodes' lines, its conditions and what keeps nodes from starting.

What Trainer and JobSet do is read from kubeflow/trainer v2.3.0, which makes one JobSet, of the TrainJob's name.
"""

from typing import ClassVar, Final

from ssm4rec.runtime.cluster import Document
from ssm4rec.runtime.job_run import JobEnd, JobRun, Missing, said_by
from ssm4rec.runtime.trainjob import NODE

RANK: Final = "batch.kubernetes.io/job-completion-index"
"""A node's rank as its pod's label; torchrun gets the same number (pkg/runtime/framework/plugins/torch/torch.go)."""
_JOBSET: Final = "jobset.sigs.k8s.io/jobset-name"
_ATTEMPT: Final = "jobset.sigs.k8s.io/restart-attempt"


class TrainJobRun(JobRun):
    """A TrainJob from its creation to its end; ``document`` is as ``trainjob.render`` makes it."""

    KIND: ClassVar[str] = "TrainJob"
    RESOURCES: ClassVar[str] = "trainjobs"
    MADE: ClassVar[str] = "jobsets,pods"
    CONTAINER: ClassVar[str] = NODE
    MADE_AGAIN: ClassVar[str] = "it is made again, and resumes from its checkpoints"

    @property
    def size(self) -> str:
        """How many nodes."""
        return f"{self.document['spec']['trainer']['numNodes']} nodes"

    @property
    def selector(self) -> str:
        """JobSet's label."""
        return f"{_JOBSET}={self.name}"

    def is_free(self) -> bool:
        """Return whether the JobSet of an earlier one is gone.

        A new TrainJob would take an old JobSet of its name for its own, and its end for its own end
        (pkg/runtime/framework/plugins/jobset/jobset.go, Build and Status).
        """
        job_sets = f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{self.cluster.namespace}/jobsets"
        return self.cluster.get(f"{job_sets}/{self.name}") is None

    def in_order(self, pods: list[Document]) -> list[Document]:
        """Return the nodes by their ranks; tell of restarts."""
        for pod in pods:
            attempt = pod["metadata"]["labels"].get(_ATTEMPT, "0")
            if attempt != "0":
                self._tell(f"all nodes were started again, {attempt} times by now")
        return sorted(pods, key=lambda pod: int(pod["metadata"]["labels"].get(RANK, 0)))

    def name_of(self, pod: Document) -> str:
        """Return a node's name by its rank."""
        return f"node {pod['metadata']['labels'].get(RANK, '?')}"

    def prints(self, pod: Document) -> bool:  # noqa: ARG002 - of every one
        """Return that each node's lines are printed."""
        return True

    def end(self, job: Document) -> JobEnd | None:
        """Return how it ended: its condition ``Complete`` or ``Failed`` (pkg/util/trainjob/trainjob.go), and why."""
        for condition in job.get("status", {}).get("conditions", ()):
            if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
                return JobEnd(condition["type"] == "Complete", said_by(condition))
        return None

    def missing(self, job: Document, pods: list[Document]) -> Missing | None:
        """Return what keeps a node from starting, None if nothing does."""
        for condition in job.get("status", {}).get("conditions", ()):
            if condition["type"] == "Suspended" and condition["status"] == "True":  # by Kueue, which lets it go later
                return Missing(False, False, "suspended, until somebody, such as Kueue, resumes it")
        if not pods:
            why = f"`kubectl describe trainjob {self.name}` says why, if Kubeflow Trainer's controller runs"
            return Missing(True, False, f"no pod was made for it; {why}")
        missing = [*self.waiting(pods)]
        if len(pods) < job["spec"]["trainer"]["numNodes"]:
            why = f"`kubectl describe job {self.name}-{NODE}-0` says why"
            missing.append(Missing(False, False, f"not every node has a pod; {why}"))
        return max(missing, default=None)

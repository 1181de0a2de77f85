"""Creates a TrainJob, follows its status and its nodes' output, and ends with it.

Whoever asks for the same name again finds the TrainJob that runs, or its end: a task that was killed and is tried again
makes no second one. Being asked to end (SIGTERM), and giving up, delete it. What Trainer and JobSet do is read from
kubeflow/trainer v2.3.0, which makes one JobSet, of the TrainJob's name.
"""

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ssm4rec.runtime.cluster import Cluster, Document
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.trainjob import GROUP, NODE, VERSION

logger = logging.getLogger(__name__)

RANK: Final = "batch.kubernetes.io/job-completion-index"
"""A node's rank as its pod's label; torchrun gets the same number (pkg/runtime/framework/plugins/torch/torch.go)."""
_JOBSET: Final = "jobset.sigs.k8s.io/jobset-name"
_ATTEMPT: Final = "jobset.sigs.k8s.io/restart-attempt"
_QUIET: Final = 30.0
"""Seconds in which Trainer and JobSet make the pods, at the start and after a restart: nothing to tell of."""
_STARTING: Final = ("ContainerCreating", "PodInitializing")


@dataclass(frozen=True)
class TrainJobEnd:
    """How a TrainJob ended: its condition ``Complete`` or ``Failed`` (pkg/util/trainjob/trainjob.go), and why."""

    complete: bool
    why: str


@dataclass(kw_only=True)
class TrainJobRun:
    """A TrainJob from its creation to its end.

    Attributes:
        document: as ``trainjob.render`` makes it.
        start_seconds: how long a node may fail to start, for a reason that waiting does not mend by itself (an image
            that cannot be pulled, no controller); for a free node it waits as long as this process may run.
        pause: seconds between two looks.
    """

    cluster: Cluster
    document: Document
    start_seconds: float = 600.0
    pause: float = 2.0
    _printed: dict[str, str] = field(default_factory=dict, init=False)  # by pod, the time of the last line
    _told: set[str] = field(default_factory=set, init=False)
    _there: bool = field(default=False, init=False)

    @property
    def name(self) -> str:
        """The TrainJob's name."""
        found: str = self.document["metadata"]["name"]
        return found

    @property
    def _jobs(self) -> str:
        return f"/apis/{GROUP}/{VERSION}/namespaces/{self.cluster.namespace}/trainjobs"

    @property
    def _job_sets(self) -> str:
        return f"/apis/jobset.x-k8s.io/v1alpha2/namespaces/{self.cluster.namespace}/jobsets"

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.cluster.namespace}/pods"

    def follow(self) -> TrainJobEnd:
        """Create the TrainJob or find it, print what its nodes print, and return how it ended.

        It stays in the cluster until :meth:`delete`. Raise InputError if Kubernetes refuses, a node does not start, or
        the TrainJob was deleted by somebody else.
        """
        try:
            self._create_or_find()
            return self._until_its_end()
        except BaseException:  # asked to end, or given up: the nodes would go on for nobody
            self._delete_at_last()
            raise

    def delete(self) -> bool:
        """Delete the TrainJob, and so its pods; return whether it was there."""
        return self.cluster.delete(f"{self._jobs}/{self.name}")

    def _delete_at_last(self) -> None:
        try:
            if self.delete():
                logger.info("TrainJob %s: deleted", self.name)
        except InputError as error:
            if self._there:  # else what is raised says it
                where = f"kubectl delete trainjob {self.name} -n {self.cluster.namespace}"
                logger.warning(
                    "TrainJob %s: may still run, as it could not be deleted (%s); `%s`", self.name, error, where
                )

    def _create_or_find(self) -> None:
        began = time.monotonic()
        while True:
            found = self.cluster.get(f"{self._jobs}/{self.name}")
            # A new TrainJob would take an old JobSet of its name for its own, and its end for its own end
            # (pkg/runtime/framework/plugins/jobset/jobset.go, Build and Status).
            old = self.cluster.get(f"{self._job_sets}/{self.name}") if found is None else found
            if old is None:
                if self.cluster.create(self._jobs, self.document):
                    self._there = True
                    nodes = self.document["spec"]["trainer"]["numNodes"]
                    logger.info("TrainJob %s: created in %s, %d nodes", self.name, self.cluster.namespace, nodes)
                    return
                continue  # a second process was faster
            if found is not None and "deletionTimestamp" not in found["metadata"]:
                end = _end(found)
                if end is None or end.complete:
                    self._there = True
                    logger.info("TrainJob %s: found in %s, and followed", self.name, self.cluster.namespace)
                    return
                self._tell(f"failed earlier ({end.why}); it is made again, and resumes from its checkpoints")
                self.delete()
            if time.monotonic() - began > self.start_seconds:
                raise InputError(f"TrainJob {self.name}: an earlier one was deleted and does not go; look at its pods")
            time.sleep(self.pause)

    def _until_its_end(self) -> TrainJobEnd:
        fine = time.monotonic()
        while True:
            job = self.cluster.get(f"{self._jobs}/{self.name}")
            if job is None or "deletionTimestamp" in job["metadata"]:
                raise InputError(f"TrainJob {self.name}: it was deleted while it ran; start the same again to resume")
            pods = self._nodes()
            self._print_new(pods)
            for failure in _failures(pods):
                self._tell(failure)
            if end := _end(job):
                return end
            stuck, why = _what_is_missing(job, pods)
            if why and (pods or time.monotonic() - fine > _QUIET):
                self._tell(why)
            if not stuck:
                fine = time.monotonic()
            elif time.monotonic() - fine > self.start_seconds:
                raise InputError(
                    f"TrainJob {self.name}: given up after {self.start_seconds:.0f} seconds without a start: {why}"
                )
            time.sleep(self.pause)

    def _nodes(self) -> list[Document]:
        listed = self.cluster.get(self._pods, {"labelSelector": f"{_JOBSET}={self.name}"}) or {"items": []}
        pods: list[Document] = listed["items"]
        for pod in pods:
            attempt = pod["metadata"]["labels"].get(_ATTEMPT, "0")
            if attempt != "0":
                self._tell(f"all nodes were started again, {attempt} times by now")
        return sorted(pods, key=lambda pod: int(pod["metadata"]["labels"].get(RANK, 0)))

    def _print_new(self, pods: list[Document]) -> None:
        """Print the lines that came since the last look; by their times, which Kubernetes puts before each."""
        for pod in pods:
            name, rank = pod["metadata"]["name"], pod["metadata"]["labels"].get(RANK, "?")
            last = self._printed.get(name, "")
            query = {"container": NODE, "timestamps": "true"}
            if last:  # Kubernetes takes whole seconds; what was printed of that one is left out below
                query["sinceTime"] = re.sub(r"\.\d+", "", last)
            for line in self.cluster.log(f"{self._pods}/{name}/log", query).splitlines():
                stamp, _, text = line.partition(" ")
                if stamp > last:
                    logger.info("node %s: %s", rank, text)
                    self._printed[name] = stamp

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.info("TrainJob %s: %s", self.name, what)


def _end(job: Document) -> TrainJobEnd | None:
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            why = f"{condition['reason']}: {condition.get('message', '')}".rstrip(": ")
            return TrainJobEnd(condition["type"] == "Complete", why)
    return None


def _failures(pods: list[Document]) -> Iterator[str]:
    """Yield how nodes ended that failed: of one that had no memory left, its own lines say nothing."""
    for pod in pods:
        for container in pod.get("status", {}).get("containerStatuses", ()):
            ended = container.get("state", {}).get("terminated", {})
            if ended.get("exitCode"):
                name, rank = pod["metadata"]["name"], pod["metadata"]["labels"].get(RANK, "?")
                yield f"node {rank} ended with status {ended['exitCode']} ({ended.get('reason', 'Error')}, pod {name})"


def _what_is_missing(job: Document, pods: list[Document]) -> tuple[bool, str]:
    """Return whether waiting will not help by itself, and what keeps a node from starting ("": nothing)."""
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] == "Suspended" and condition["status"] == "True":  # by Kueue, which lets it go later
            return False, "suspended, until somebody resumes it"
    if not pods:
        return True, (
            f"no pod was made for it; `kubectl describe trainjob {job['metadata']['name']}` says why, if Kubeflow "
            "Trainer's controller runs"
        )
    missing = sorted(_waiting(pods), reverse=True)
    return missing[0] if missing else (False, "")


def _waiting(pods: list[Document]) -> Iterator[tuple[bool, str]]:
    """Yield what a pod waits for, and before that whether it is stuck."""
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        for condition in status.get("conditions", ()):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                yield False, f"{name} waits for a node: {condition.get('message', condition.get('reason', ''))}"
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") not in (None, *_STARTING):
                message = f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
                yield True, f"{name} does not start ({message})"

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
from datetime import datetime
from typing import Final, NamedTuple

from ssm4rec.runtime.cluster import Cluster, Document
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.trainjob import GROUP, NODE, VERSION

logger = logging.getLogger(__name__)

RANK: Final = "batch.kubernetes.io/job-completion-index"
"""A node's rank as its pod's label; torchrun gets the same number (pkg/runtime/framework/plugins/torch/torch.go)."""
_JOBSET: Final = "jobset.sigs.k8s.io/jobset-name"
_ATTEMPT: Final = "jobset.sigs.k8s.io/restart-attempt"
_QUIET: Final = 30.0
"""Seconds in which pods are made and start, at first and after a restart: nothing to tell of."""
_STARTING: Final = ("ContainerCreating", "PodInitializing")
_STAMPED: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d) (.*)", re.S)
"""A line that Kubernetes put its time before; the zone is the machine's."""

_Time = tuple[datetime, str]
"""A second, and what follows its point: nine digits, more than a datetime holds."""


@dataclass(frozen=True)
class TrainJobEnd:
    """How a TrainJob ended: its condition ``Complete`` or ``Failed`` (pkg/util/trainjob/trainjob.go), and why."""

    complete: bool
    why: str


class _Missing(NamedTuple):
    """What keeps a node from starting; the largest is the one to tell of.

    Attributes:
        stuck: waiting does not mend it by itself.
        at_once: it is worth telling although it may pass soon.
    """

    stuck: bool
    at_once: bool
    why: str


@dataclass(kw_only=True)
class TrainJobRun:
    """A TrainJob from its creation to its end.

    Attributes:
        document: as ``trainjob.render`` makes it.
        start_seconds: how long a node may fail to start, for a reason that waiting does not mend by itself (an image
            that cannot be pulled, no controller); for a free node it waits as long as this process may run.
        pause: seconds between two looks.
        may_run: whether the nodes may still work: not once it has ended or is being deleted.
    """

    cluster: Cluster
    document: Document
    start_seconds: float = 600.0
    pause: float = 2.0
    may_run: bool = field(default=False, init=False)
    _printed: dict[str, _Time] = field(default_factory=dict, init=False)  # by pod, of the last line
    _told: set[str] = field(default_factory=set, init=False)
    _uid: str = field(default="", init=False)  # of the TrainJob that is followed

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
            self.delete()
            raise

    def delete(self) -> None:
        """Have the TrainJob deleted, and so its pods; of one that cannot be, say how to do it by hand."""
        try:
            if self.cluster.delete(f"{self._jobs}/{self.name}", self._uid):
                logger.info("TrainJob %s: deleted", self.name)
            self.may_run = False
        except InputError as error:
            if self._uid:  # else there is none, and what is raised says why
                where = f"kubectl delete trainjob {self.name} -n {self.cluster.namespace}"
                logger.warning("TrainJob %s: is still there, as it was not deleted (%s); `%s`", self.name, error, where)

    def _create_or_find(self) -> None:
        began = time.monotonic()
        while True:
            found = self.cluster.get(f"{self._jobs}/{self.name}")
            # A new TrainJob would take an old JobSet of its name for its own, and its end for its own end
            # (pkg/runtime/framework/plugins/jobset/jobset.go, Build and Status).
            old = self.cluster.get(f"{self._job_sets}/{self.name}") if found is None else found
            if old is None:
                self.may_run = True  # also if the answer is lost
                if made := self.cluster.create(self._jobs, self.document):
                    self._uid = made["metadata"]["uid"]
                    nodes = self.document["spec"]["trainer"]["numNodes"]
                    logger.info("TrainJob %s: created in %s, %d nodes", self.name, self.cluster.namespace, nodes)
                    return
            if found is not None and "deletionTimestamp" not in found["metadata"]:
                end = _end(found)
                if end is None or end.complete:
                    self._uid, self.may_run = found["metadata"]["uid"], True
                    logger.info("TrainJob %s: found in %s, and followed", self.name, self.cluster.namespace)
                    return
                self._tell(f"failed earlier ({end.why}); it is made again, and resumes from its checkpoints")
                self.cluster.delete(f"{self._jobs}/{self.name}", found["metadata"]["uid"])
            if time.monotonic() - began > self.start_seconds:
                raise InputError(
                    f"TrainJob {self.name}: not made in {self.start_seconds:.0f} seconds, as an earlier one is not "
                    f"gone; `kubectl get trainjobs,jobsets,pods -n {self.cluster.namespace}` shows what is left"
                )
            time.sleep(self.pause)

    def _until_its_end(self) -> TrainJobEnd:
        whole = fine = time.monotonic()
        while True:
            job = self.cluster.get(f"{self._jobs}/{self.name}")
            if job is None or job["metadata"]["uid"] != self._uid or "deletionTimestamp" in job["metadata"]:
                raise InputError(f"TrainJob {self.name}: it was deleted while it ran; start the same again to resume")
            pods = self._nodes()
            read = self._print_new(pods)
            for failure in _failures(pods):
                self._tell(failure)
            if end := _end(job):
                self.may_run = False
                if not read:  # a broken connection is not to cost the lines that say why it failed
                    time.sleep(self.pause)
                    self._print_new(pods)
                return end
            now, missing = time.monotonic(), _missing(job, pods)
            if missing is None:
                whole = now
            elif missing.at_once or now - whole > _QUIET:
                self._tell(missing.why)
            if missing is None or not missing.stuck:
                fine = now
            elif now - fine > self.start_seconds:
                raise InputError(
                    f"TrainJob {self.name}: given up after {self.start_seconds:.0f} seconds without a start: "
                    f"{missing.why}"
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

    def _print_new(self, pods: list[Document]) -> bool:
        """Print the lines that came since the last look; return whether every node's could be read.

        They are told from earlier ones by their times, which Kubernetes puts before each.
        """
        read = True
        for pod in pods:
            name, rank = pod["metadata"]["name"], pod["metadata"]["labels"].get(RANK, "?")
            last = self._printed.get(name)
            query = {"container": NODE, "timestamps": "true"}
            if last:  # Kubernetes takes whole seconds; what was printed of that one is left out below
                query["sinceTime"] = last[0].isoformat()
            printed = self.cluster.log(f"{self._pods}/{name}/log", query)
            if printed is None:
                self._tell(f"what node {rank} prints cannot be read for now (pod {name}); its machine may be lost")
                read = False
                continue
            for line in filter(None, printed.split("\n")):  # a line may hold other ends of lines, as progress bars do
                if not (stamped := _STAMPED.match(line)):
                    self._tell(f"node {rank}: {line}")  # in its place a message of the machine's
                    continue
                second, fraction, zone, text = stamped.groups()
                when = datetime.fromisoformat(second + zone), fraction or ""
                if last is None or when > last:
                    logger.info("node %s: %s", rank, text)
                    self._printed[name] = when
        return read

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.info("TrainJob %s: %s", self.name, what)


def _end(job: Document) -> TrainJobEnd | None:
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] in ("Complete", "Failed") and condition["status"] == "True":
            return TrainJobEnd(condition["type"] == "Complete", _reason(condition))
    return None


def _failures(pods: list[Document]) -> Iterator[str]:
    """Yield how nodes ended that failed: of one that had no memory left or lost its machine, its lines say nothing."""
    for pod in pods:
        name, rank = pod["metadata"]["name"], pod["metadata"]["labels"].get(RANK, "?")
        status = pod.get("status", {})
        for container in status.get("containerStatuses", ()):
            ended = container.get("state", {}).get("terminated", {})
            if ended.get("exitCode"):
                yield f"node {rank} ended with status {ended['exitCode']} ({ended.get('reason', 'Error')}, pod {name})"
        reasons = [
            _reason(condition)
            for condition in status.get("conditions", ())
            if (condition["type"], condition["status"]) == ("DisruptionTarget", "True")
        ]
        if status.get("phase") == "Failed":
            reasons.append(_reason(status))  # of the machine's own, such as Evicted
        for why in filter(None, reasons):
            yield f"node {rank} was ended by Kubernetes ({why}, pod {name})"


def _reason(told: Document) -> str:
    """Return what a status or a condition says of itself, "" if nothing."""
    return f"{told.get('reason', '')}: {told.get('message', '')}".strip(": ")


def _missing(job: Document, pods: list[Document]) -> _Missing | None:
    """Return what keeps a node from starting, None if nothing does."""
    name = job["metadata"]["name"]
    for condition in job.get("status", {}).get("conditions", ()):
        if condition["type"] == "Suspended" and condition["status"] == "True":  # by Kueue, which lets it go later
            return _Missing(False, False, "suspended, until somebody, such as Kueue, resumes it")
    if not pods:
        why = f"`kubectl describe trainjob {name}` says why, if Kubeflow Trainer's controller runs"
        return _Missing(True, False, f"no pod was made for it; {why}")
    missing = [*_waiting(pods)]
    if len(pods) < job["spec"]["trainer"]["numNodes"]:
        missing.append(
            _Missing(False, False, f"not every node has a pod; `kubectl describe job {name}-{NODE}-0` says why")
        )
    return max(missing, default=None)


def _waiting(pods: list[Document]) -> Iterator[_Missing]:
    """Yield what pods wait for."""
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status", {})
        for condition in status.get("conditions", ()):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                why = condition.get("message", condition.get("reason", ""))
                yield _Missing(False, True, f"{name} waits for a node: {why}")
        for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") in _STARTING:
                selected = f"{_JOBSET}={pod['metadata']['labels'][_JOBSET]}"
                why = f"`kubectl describe pods -l {selected}` says whether an image or a volume takes long"
                yield _Missing(False, False, f"not every node has started; {why}")
            elif waiting.get("reason"):
                yield _Missing(True, True, f"{name} does not start ({_reason(waiting)})")

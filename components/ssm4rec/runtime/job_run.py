"""Creates a job of the cluster, follows its status and its pods' output, and ends with it; a subclass for each kind.

Whoever asks for the same name again finds the job that runs, or its end: a task that was killed and is tried again
makes no second one. Being asked to end (SIGTERM), and giving up, delete it.
"""

import logging
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Final, NamedTuple

from ssm4rec.runtime.cluster import Cluster, Document
from ssm4rec.runtime.errors import InputError

logger = logging.getLogger(__name__)

_QUIET: Final = 30.0
"""Seconds in which pods are made and start, at first and after a restart: nothing to tell of."""
_STARTING: Final = ("ContainerCreating", "PodInitializing")
_STAMPED: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d) (.*)", re.S)
"""A line that Kubernetes put its time before; the zone is the machine's."""

_Time = tuple[datetime, str]
"""A second, and what follows its point: nine digits, more than a datetime holds."""


@dataclass(frozen=True)
class JobEnd:
    """How a job ended, and why; ``status``: the exit status to end with of one that is not complete."""

    complete: bool
    why: str
    status: int = 1


class Missing(NamedTuple):
    """What keeps a pod from starting; the largest is the one to tell of.

    Attributes:
        stuck: waiting does not mend it by itself.
        at_once: it is worth telling although it may pass soon.
    """

    stuck: bool
    at_once: bool
    why: str


@dataclass(kw_only=True)
class JobRun(ABC):
    """A job from its creation to its end.

    Attributes:
        document: as it is sent to the API.
        start_seconds: how long a pod may fail to start, for a reason that waiting does not mend by itself (an image
            that cannot be pulled, no controller); for a free node it waits as long as this process may run.
        pause: seconds between two looks.
        may_run: whether its pods may still work: not once it has ended or is being deleted.
    """

    KIND: ClassVar[str]
    RESOURCES: ClassVar[str]
    """The kind's name in paths and on kubectl's command line, in the plural."""
    MADE: ClassVar[str]
    """What is made for one, by kubectl's names."""
    CONTAINER: ClassVar[str]
    """The container whose output is printed."""
    MADE_AGAIN: ClassVar[str]
    """What is told when one that failed is replaced."""

    cluster: Cluster
    document: Document
    start_seconds: float = 600.0
    pause: float = 2.0
    may_run: bool = field(default=False, init=False)
    _printed: dict[str, _Time] = field(default_factory=dict, init=False)  # by pod, of the last line
    _told: set[str] = field(default_factory=set, init=False)
    _uid: str = field(default="", init=False)  # of the job that is followed

    @property
    @abstractmethod
    def size(self) -> str:
        """What was asked for, such as ``2 nodes``."""

    @property
    @abstractmethod
    def selector(self) -> str:
        """The label of its pods and its value."""

    @abstractmethod
    def name_of(self, pod: Document) -> str:
        """Return what a pod of it is called in lines, such as ``node 0``."""

    @abstractmethod
    def prints(self, pod: Document) -> bool:
        """Return whether a pod's output is printed."""

    @abstractmethod
    def end(self, job: Document) -> JobEnd | None:
        """Return how the job ended, None while it has not."""

    @abstractmethod
    def missing(self, job: Document, pods: list[Document]) -> Missing | None:
        """Return what keeps a pod from starting, None if nothing does."""

    @abstractmethod
    def in_order(self, pods: list[Document]) -> list[Document]:
        """Return pods in the order in which they are told of."""

    def is_free(self) -> bool:
        """Return whether nothing is left of an earlier job of the name, which is gone itself."""
        return True

    @property
    def name(self) -> str:
        """The job's name."""
        found: str = self.document["metadata"]["name"]
        return found

    @property
    def _jobs(self) -> str:
        return f"/apis/{self.document['apiVersion']}/namespaces/{self.cluster.namespace}/{self.RESOURCES}"

    @property
    def _pods(self) -> str:
        return f"/api/v1/namespaces/{self.cluster.namespace}/pods"

    def follow(self) -> JobEnd:
        """Create the job or find it, print what its pods print, and return how it ended.

        It stays in the cluster until :meth:`delete`. Raise InputError if Kubernetes refuses, a pod does not start, or
        the job was deleted by somebody else.
        """
        try:
            self._create_or_find()
            return self._until_its_end()
        except BaseException:  # asked to end, or given up: the pods would go on for nobody
            self.delete()
            raise

    def delete(self) -> None:
        """Have the job deleted, and so its pods; of one that cannot be, say how to do it by hand."""
        try:
            if self.cluster.delete(f"{self._jobs}/{self.name}", self._uid):
                logger.info("%s %s: deleted", self.KIND, self.name)
            self.may_run = False
        except InputError as error:
            if self._uid:  # else there is none, and what is raised says why
                where = f"kubectl delete {self.RESOURCES[:-1]} {self.name} -n {self.cluster.namespace}"
                logger.warning("%s %s: is still there, as it was not deleted (%s); `%s`",
                               self.KIND, self.name, error, where)  # fmt: skip

    def _create_or_find(self) -> None:
        began = time.monotonic()
        while True:
            found = self.cluster.get(f"{self._jobs}/{self.name}")
            if found is None and self.is_free():
                self.may_run = True  # also if the answer is lost
                if made := self.cluster.create(self._jobs, self.document):
                    self._uid = made["metadata"]["uid"]
                    logger.info("%s %s: created in %s, %s", self.KIND, self.name, self.cluster.namespace, self.size)
                    return
            if found is not None and "deletionTimestamp" not in found["metadata"]:
                end = self.end(found)
                if end is None or end.complete:
                    self._uid, self.may_run = found["metadata"]["uid"], True
                    logger.info("%s %s: found in %s, and followed", self.KIND, self.name, self.cluster.namespace)
                    return
                self._tell(f"failed earlier ({end.why}); {self.MADE_AGAIN}")
                self.cluster.delete(f"{self._jobs}/{self.name}", found["metadata"]["uid"])
            if time.monotonic() - began > self.start_seconds:
                raise InputError(
                    f"{self.KIND} {self.name}: not made in {self.start_seconds:.0f} seconds, as an earlier one is not "
                    f"gone; `kubectl get {self.RESOURCES},{self.MADE} -n {self.cluster.namespace}` shows what is left"
                )
            time.sleep(self.pause)

    def _until_its_end(self) -> JobEnd:
        whole = fine = time.monotonic()
        while True:
            job = self.cluster.get(f"{self._jobs}/{self.name}")
            if job is None or job["metadata"]["uid"] != self._uid or "deletionTimestamp" in job["metadata"]:
                raise InputError(
                    f"{self.KIND} {self.name}: it was deleted while it ran; start the same again to resume"
                )
            listed = self.cluster.get(self._pods, {"labelSelector": self.selector}) or {"items": []}
            pods = self.in_order(listed["items"])
            read = self._print_new(pods)
            for failure in self._failures(pods):
                self._tell(failure)
            if end := self.end(job):
                self.may_run = False
                if not read:  # a broken connection is not to cost the lines that say why it failed
                    time.sleep(self.pause)
                    self._print_new(pods)
                return end
            now, missing = time.monotonic(), self.missing(job, pods)
            if missing is None:
                whole = now
            elif missing.at_once or now - whole > _QUIET:
                self._tell(missing.why)
            if missing is None or not missing.stuck:
                fine = now
            elif now - fine > self.start_seconds:
                raise InputError(
                    f"{self.KIND} {self.name}: given up after {self.start_seconds:.0f} seconds without a start: "
                    f"{missing.why}"
                )
            time.sleep(self.pause)

    def _print_new(self, pods: list[Document]) -> bool:
        """Print the lines that came since the last look; return whether every pod's could be read.

        They are told from earlier ones by their times, which Kubernetes puts before each.
        """
        read = True
        for pod in filter(self.prints, pods):
            name, who = pod["metadata"]["name"], self.name_of(pod)
            last = self._printed.get(name)
            query = {"container": self.CONTAINER, "timestamps": "true"}
            if last:  # Kubernetes takes whole seconds; what was printed of that one is left out below
                query["sinceTime"] = last[0].isoformat()
            printed = self.cluster.log(f"{self._pods}/{name}/log", query)
            if printed is None:
                self._tell(f"what {who} prints cannot be read for now (pod {name}); its machine may be lost")
                read = False
                continue
            for line in filter(None, printed.split("\n")):  # a line may hold other ends of lines, as progress bars do
                if not (stamped := _STAMPED.match(line)):
                    self._tell(f"{who}: {line}")  # in its place a message of the machine's
                    continue
                second, fraction, zone, text = stamped.groups()
                when = datetime.fromisoformat(second + zone), fraction or ""
                if last is None or when > last:
                    logger.info("%s: %s", who, text)
                    self._printed[name] = when
        return read

    def _tell(self, what: str) -> None:
        if what not in self._told:
            self._told.add(what)
            logger.info("%s %s: %s", self.KIND, self.name, what)

    def _failures(self, pods: list[Document]) -> Iterator[str]:
        """Yield how pods ended that failed: of one that had no memory left or lost its machine, lines say nothing."""
        for pod in pods:
            name, who = pod["metadata"]["name"], self.name_of(pod)
            status = pod.get("status", {})
            for container in status.get("containerStatuses", ()):
                ended = container.get("state", {}).get("terminated", {})
                if ended.get("exitCode"):
                    yield f"{who} ended with status {ended['exitCode']} ({ended.get('reason', 'Error')}, pod {name})"
            reasons = [
                said_by(condition)
                for condition in status.get("conditions", ())
                if (condition["type"], condition["status"]) == ("DisruptionTarget", "True")
            ]
            if status.get("phase") == "Failed":
                reasons.append(said_by(status))  # of the machine's own, such as Evicted
            for why in filter(None, reasons):
                yield f"{who} was ended by Kubernetes ({why}, pod {name})"

    def waiting(self, pods: list[Document]) -> Iterator[Missing]:
        """Yield what pods wait for."""
        for pod in pods:
            name, status = pod["metadata"]["name"], pod.get("status", {})
            for condition in status.get("conditions", ()):
                if condition["type"] == "PodScheduled" and condition["status"] == "False":
                    why = condition.get("message", condition.get("reason", ""))
                    yield Missing(False, True, f"{name} waits for a node: {why}")
            for container in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
                waiting = container.get("state", {}).get("waiting", {})
                if waiting.get("reason") in _STARTING:
                    why = f"`kubectl describe pods -l {self.selector}` says whether an image or a volume takes long"
                    yield Missing(False, False, f"not every node has started; {why}")
                elif waiting.get("reason"):
                    yield Missing(True, True, f"{name} does not start ({said_by(waiting)})")


def said_by(told: Document) -> str:
    """Return what a status or a condition says of itself, "" if nothing."""
    return f"{told.get('reason', '')}: {told.get('message', '')}".strip(": ")

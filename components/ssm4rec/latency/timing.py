"""Time to suggestions, sample by sample: forward, scores of the catalog, the best ten.

Every model answers the same requests, in random order within each sample, so that a machine that slows down slows all.
A request's histories are the users' last items before the test target, as many as the model reads, padded to the
longest among them: users come in random order, as they would to a server, not sorted by length. The suggestions are
those of evaluation: of the whole catalog, history unmasked (the paper's protocol), the repeat term added to all items
that the user had.

Shapes: n users of a sample, B users of a request, L length, H length of whole histories, V items, K suggestions, R
requests.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset
from ssm4rec.artifacts.latency import Kind, Mode, TimedSample
from ssm4rec.data.batches import gather_rows
from ssm4rec.evaluation.full_ranking import best_items
from ssm4rec.latency.host import read_clocks
from ssm4rec.latency.meter import Meter
from ssm4rec.latency.protocol import TOP_K, Protocol, draw_users
from ssm4rec.models.recommender import Recommender
from ssm4rec.models.repeat_term import cells_of
from ssm4rec.models.serving import ServingRecommender
from ssm4rec.runtime.energy import NOT_METERED, EnergyMeter
from ssm4rec.training.distributed import Distributed

logger = logging.getLogger(__name__)

PARTS: Final = ("forward", "scoring", "topk")


@dataclass(frozen=True)
class Subject:
    """A model under test, ready on its device; ``config`` is that of its model folder."""

    model: Recommender
    config: dict[str, Any]
    weights: Literal["trained", "random"] = "trained"

    @property
    def name(self) -> str:
        """Its name, such as ``sasrec``."""
        return str(self.config["model"])

    @property
    def label(self) -> tuple[str, str, int]:
        """What tells it from the others: name, profile and seed."""
        return self.name, str(self.config["profile"]), int(self.config["seed"])

    def weight_bytes(self) -> int:
        """Return the size of parameters and buffers."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def modes(self) -> tuple[Mode, ...]:
        """Return how it can answer: from a state only if it keeps one."""
        return ("full", "step") if isinstance(self.model, ServingRecommender) else ("full",)


@dataclass(frozen=True)
class Request:
    """Users who wait for an answer together, on the device.

    Attributes:
        items: histories (B, L), int64, padded on the right with 0.
        lengths: (B,), on the device.
        events: the item that comes next, (B,): what a step reads.
        had: whole histories (B, H), padded with 0, to which a repeat term is added however little of them is read.
        read: items of the histories, without the padding.
    """

    items: Tensor
    lengths: Tensor
    events: Tensor
    had: Tensor
    read: int


@dataclass(frozen=True)
class Task:
    """What is timed sample by sample: a model, how it answers, and whom."""

    subject: Subject
    mode: Mode
    batch: int
    kind: Kind = "users"
    histories: Literal["data", "generated"] = "data"
    length: int | None = None

    @property
    def purpose(self) -> str:
        """What it is timed for, in words."""
        if self.kind == "length":
            return f"latency, {self.histories} histories of {self.length}"
        return "cost on one thread" if self.kind == "cost" else "latency"


@dataclass(frozen=True)
class Answers:
    """What a sample gave.

    Attributes:
        seconds: of each request's parts, (R, 3), in the order of ``PARTS``.
        cpu_seconds: of each request, (R,).
        suggestions: items 1..V, (n, K), on the CPU.
        state_bytes: of one user's state; None without one.
        working_bytes: see :class:`TimedSample`.
    """

    seconds: numpy.ndarray[tuple[int, int], numpy.dtype[numpy.float64]]
    cpu_seconds: list[float]
    suggestions: Tensor
    state_bytes: int | None
    working_bytes: int | None


class Measurement:
    """Timed samples as they are taken, in ``rows``; everything that was chosen for them is in each row."""

    def __init__(
        self,
        protocol: Protocol,
        distributed: Distributed,
        kernels: str,
        meter: Meter,
        energy: EnergyMeter = NOT_METERED,
    ) -> None:
        self.protocol = protocol
        self.distributed = distributed
        self.kernels = kernels
        self.meter = meter
        self.energy = energy
        self.rows: list[TimedSample] = []
        self._order = numpy.random.default_rng([protocol.seed, 1])

    def take(self, tasks: Sequence[Task], requests_of: Callable[[Task, int], list[Request]]) -> None:
        """Time every task once a sample, in an order drawn for each sample.

        Before the first sample every task answers it once without a clock, so that nothing is compiled, loaded or
        allocated for the first time under it. ``requests_of`` gives the requests of a task's sample, by its number.
        """
        for task in tasks:
            self.answer(task, requests_of(task, 0))
        for sample in range(self.protocol.samples):
            for index in self._order.permutation(len(tasks)).tolist():
                self.rows.append(self._time(tasks[index], sample, requests_of(tasks[index], sample)))
            logger.info(
                "sample %d of %d for %s: %d models and modes timed",
                sample + 1, self.protocol.samples, tasks[0].purpose, len(tasks),
            )  # fmt: skip

    @torch.inference_mode()
    def answer(self, task: Task, requests: list[Request]) -> Answers:
        """Answer a sample's requests one after the other, each under the clock."""
        model = task.subject.model
        count = min(TOP_K, len(model.item_vectors()))
        seconds, cpu_seconds, suggestions, working = [], [], [], []
        state_bytes: int | None = None
        with self.distributed.autocast():
            for request in [*requests[: self.protocol.warm_up], *requests]:
                forward, score, state_bytes = _parts(model, task.mode, request)
                self.meter.start()
                read = forward()
                self.meter.lap()
                scores = score(read)
                self.meter.lap()
                items = best_items(scores, count)[1]
                self.meter.lap()
                seconds.append(self.meter.seconds())
                cpu_seconds.append(self.meter.cpu_seconds)
                suggestions.append(items.cpu())
                if self.meter.working_bytes is not None:
                    working.append(self.meter.working_bytes)
        timed = slice(len(seconds) - len(requests), None)
        return Answers(
            numpy.array(seconds[timed]),
            cpu_seconds[timed],
            torch.cat(suggestions[timed]),
            state_bytes,
            max(working[timed], default=None),
        )

    def _time(self, task: Task, sample: int, requests: list[Request]) -> TimedSample:
        charged, before = self.energy.read(), read_clocks()
        answers = self.answer(task, requests)
        after, spent = read_clocks(), self.energy.read() - charged
        name, profile, seed = task.subject.label
        users = sum(len(request.lengths) for request in requests)
        parts = answers.seconds.sum(axis=0)
        return TimedSample(
            kind=task.kind,
            histories=task.histories,
            length=task.length,
            model=name,
            profile=profile,
            seed=seed,
            weights=task.subject.weights,
            mode=task.mode,
            batch=task.batch,
            sample=sample,
            order=len(self.rows),
            users=users,
            mean_length=sum(request.read for request in requests) / users,
            mean_padded_length=sum(request.items.numel() for request in requests) / users,
            **{f"{part}_seconds": float(seconds) for part, seconds in zip(PARTS, parts, strict=True)},
            total_seconds=float(parts.sum()),
            request_seconds=answers.seconds.sum(axis=1).tolist(),
            outlier=False,  # known when all samples are
            weight_bytes=task.subject.weight_bytes(),
            state_bytes=answers.state_bytes,
            working_bytes=answers.working_bytes,
            wall_seconds=after.wall - before.wall,
            cpu_seconds=after.process - before.process,
            load_average=os.getloadavg()[0],
            device=self.distributed.device.type,
            precision=self.distributed.precision,
            kernels=self.kernels,
            compiled=self.distributed.compiled and task.mode == "full",
            threads=torch.get_num_threads(),
            request_cpu_seconds=answers.cpu_seconds,
            package_joules=spent.package_joules,
            gpu_joules=spent.gpu_joules,
        )


def measure_users(
    measurement: Measurement, subjects: Sequence[Subject], dataset: SequenceDataset, kind: Kind = "users"
) -> None:
    """Time every model, mode and batch on samples of the data set's users; nothing without batches."""
    protocol, device = measurement.protocol, measurement.distributed.device
    if not protocol.batches:
        return
    samples = draw_users(dataset, protocol)

    def requests_of(task: Task, sample: int) -> list[Request]:
        # Rounds have the same users, so that each request can be compared with itself.
        users = samples[0 if kind == "cost" else sample][: protocol.users_at(task.batch)]
        return list(user_requests(dataset, users, task.batch, task.subject.model.max_length, device))

    tasks = [
        Task(subject, mode, batch, kind)
        for subject in subjects
        for mode in subject.modes()
        for batch in protocol.batches
    ]
    measurement.take(tasks, requests_of)


def user_requests(
    dataset: SequenceDataset, users: Int64s, batch: int, max_length: int, device: torch.device
) -> Iterator[Request]:
    """Yield requests of ``batch`` users in the given order, the last one of those that are left.

    The users (n,) have a test target; of their histories the last ``max_length`` items are read.
    """
    numbers = dataset.test_position.astype(numpy.int64)  # of items before the target
    for first in range(0, len(users), batch):
        chosen = users[first : first + batch]
        stops = dataset.offsets[chosen] + numbers[chosen]
        read = numpy.minimum(numbers[chosen], max_length)
        yield Request(
            torch.from_numpy(gather_rows(dataset.items, stops - read, read)).to(device),
            torch.from_numpy(read).to(device),
            torch.from_numpy(dataset.items[stops].astype(numpy.int64)).to(device),
            torch.from_numpy(gather_rows(dataset.items, dataset.offsets[chosen], numbers[chosen])).to(device),
            int(read.sum()),
        )


def _parts(
    model: Recommender, mode: Mode, request: Request
) -> tuple[Callable[[], Any], Callable[[Any], Tensor], int | None]:
    """Return what reads the histories, what gives the scores (B, V) of what was read, and the size of a user's state.

    The state that a step begins with is made here, untimed, and then another one takes a step: a server that answers
    steps has code and weights in its caches, where reading a long history would have left none of them.
    """
    if mode == "full":

        def score(hidden: Tensor) -> Tensor:
            return model.score(hidden, cells_of(request.had, len(model.item_vectors())))

        return lambda: model.next_hidden(request.items, request.lengths), score, None
    assert isinstance(model, ServingRecommender)  # noqa: S101 - Subject.modes offers no step otherwise
    serving = model
    if mode == "prefill":
        return lambda: serving.prefill(request.items, request.lengths, request.had), serving.score_state, None
    state = serving.prefill(request.items, request.lengths, request.had)
    serving.advance(serving.prefill(request.items[:, :1], torch.ones_like(request.lengths)), request.events)
    return lambda: serving.advance(state, request.events), serving.score_state, state.bytes_per_user()

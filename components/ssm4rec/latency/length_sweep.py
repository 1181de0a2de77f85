"""What one user costs against the length of the history, and where the curves cross.

Every model is built for each length L with one place more than the history, so that SASRec's window need not slide for
the event after it. Trained weights go in wherever their shapes fit; SASRec has a position table of the trained length,
so that its weights are random here, which changes no time. One user per request.
"""

from collections.abc import Sequence
from functools import partial

import numpy
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset
from ssm4rec.artifacts.latency import Mode
from ssm4rec.latency.timing import Measurement, Request, Subject, Task, user_requests
from ssm4rec.models.table import config_from_json


def measure_lengths(measurement: Measurement, subjects: Sequence[Subject], dataset: SequenceDataset) -> None:
    """Time every distinct model at every length of the protocol: on generated histories, then on real ones.

    Real histories are the last L items of users who have as many before their test target; where nobody has, the
    generated ones stand alone. Of models that differ in seed only, the first is timed.
    """
    protocol, device = measurement.protocol, measurement.distributed.device
    rng = numpy.random.default_rng([protocol.seed, 2])
    for length in protocol.lengths:
        stretched = [stretch(subject, length + 1, dataset.item_count) for subject in distinct(subjects)]
        if measurement.distributed.compiled:
            for subject in stretched:
                subject.model.compile(dynamic=True)
        modes = [(subject, mode) for subject in stretched for mode in _modes(subject)]
        generated = torch.from_numpy(rng.integers(1, dataset.item_count + 1, (protocol.samples, length + 1)))
        measurement.take(
            [Task(subject, mode, 1, "length", "generated", length) for subject, mode in modes],
            partial(_generated, generated.to(device)),
        )
        users = numpy.flatnonzero(dataset.test_position >= length)
        if len(users):
            measurement.take(
                [Task(subject, mode, 1, "length", "data", length) for subject, mode in modes],
                partial(_real, dataset, rng.choice(users, protocol.samples), length, device),
            )


def _modes(subject: Subject) -> tuple[Mode, ...]:
    """Return how a model is timed: one that keeps a state also while it makes the first."""
    modes = subject.modes()
    return (*modes, "prefill") if "step" in modes else modes


def _generated(items: Tensor, _: Task, sample: int) -> list[Request]:
    """Return one user with a row of ``items`` (samples, L + 1), whose last item is the next event."""
    row = items[sample : sample + 1]
    history, length = row[:, :-1], row.shape[1] - 1
    return [Request(history, torch.tensor([length], device=row.device), row[:, -1], history, length)]


def _real(
    dataset: SequenceDataset, users: Int64s, length: int, device: torch.device, _: Task, sample: int
) -> list[Request]:
    return list(user_requests(dataset, users[sample : sample + 1], 1, length, device))


def distinct(subjects: Sequence[Subject]) -> list[Subject]:
    """Return the subjects without those that differ from an earlier one in seed and weights only."""
    first: dict[str, Subject] = {}
    for subject in subjects:
        name, profile, _ = subject.label
        first.setdefault(f"{name} {profile} {subject.config['recipe']['model']}", subject)
    return list(first.values())


def stretch(subject: Subject, max_length: int, item_count: int) -> Subject:
    """Return the model built for a maximum length, with its weights if they fit and random ones otherwise."""
    config = config_from_json(subject.name, {**subject.config["recipe"]["model"], "max_length": max_length})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(subject.label[2])
        model = config.build(item_count, subject.model.words)
    weights = subject.model.state_dict()
    fits = _shapes(weights) == _shapes(model.state_dict())
    if fits:
        model.load_state_dict(weights)
    device = next(subject.model.parameters()).device
    return Subject(model.to(device).eval(), subject.config, "trained" if fits else "random")


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in weights.items()}

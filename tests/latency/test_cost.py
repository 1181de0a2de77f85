"""What answers cost: rounds of one thread, in which models take turns, and the least of each request."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.latency import TimedSample
from ssm4rec.latency.cost import ROUNDS, computing_threads, measure_cost
from ssm4rec.latency.meter import Meter
from ssm4rec.latency.protocol import Protocol
from ssm4rec.latency.summary import results
from ssm4rec.latency.timing import Measurement, Subject, measure_users
from ssm4rec.training.distributed import Distributed

MakeRow = Callable[..., TimedSample]


def test_rounds_are_of_one_thread_and_models_take_turns(
    meter: Meter, subject: Callable[..., Subject], cycle_dataset: Path
) -> None:
    dataset, subjects = read_sequences(cycle_dataset), [subject(name, 12) for name in ("sasrec", "hydra4rec")]
    measurement = Measurement(Protocol(5, 15, 3, (4, 1)), Distributed(torch.device("cpu")), "auto", meter)
    measure_users(measurement, subjects, dataset)
    timed = len(measurement.rows)
    with computing_threads(2):
        measure_cost(measurement, subjects, dataset)
        assert torch.get_num_threads() == 2
    assert [row.order for row in measurement.rows] == list(range(len(measurement.rows)))
    rows = measurement.rows[timed:]
    assert {(row.kind, row.threads) for row in rows} == {("cost", 1)}
    ways = [("sasrec", "full"), ("sasrec", "step"), ("hydra4rec", "full")]
    by_round = [[(row.model, row.mode, row.batch) for row in rows if row.sample == number] for number in range(ROUNDS)]
    assert all(sorted(one) == sorted((*way, batch) for way in ways for batch in (4, 1)) for one in by_round)
    assert len({tuple(one) for one in by_round}) > 1
    found = results(measurement.rows, seed=0)
    assert {one.kind for one in found} == {"users"}
    for one in found:
        own = [row for row in rows if row.group[1:] == one.group[1:]]
        assert len({(row.users, row.mean_length) for row in own}) == 1  # the same users every round
        costs = numpy.array([row.request_cpu_seconds for row in own]) / own[0].users
        assert one.cpu_seconds_per_user
        assert one.cpu_seconds_per_user.value == pytest.approx(sum(costs.min(axis=0)))
        assert one.cpu_seconds_per_user.n == costs.shape[1] >= 2
        assert one.cpu_seconds_per_user.low <= one.cpu_seconds_per_user.value <= one.cpu_seconds_per_user.high


@pytest.mark.parametrize(
    ("users", "batches", "with_replacement", "requests"),
    [
        (5, (5, 1), True, {5: 4, 1: 3}),  # a sample is one request, a round four
        (5, (5,), False, {5: 4}),
        (30, (30,), False, {30: 2}),  # there are 40 users, no more
        (12, (4, 2), True, {4: 4, 2: 8}),
        (40, (4,), True, {4: 10}),  # more than four
    ],
)  # fmt: skip
def test_a_round_has_four_requests_of_each_size_where_there_are_users(
    users: int,
    batches: tuple[int, ...],
    with_replacement: bool,
    requests: dict[int, int],
    meter: Meter,
    subject: Callable[..., Subject],
    cycle_dataset: Path,
) -> None:
    dataset = read_sequences(cycle_dataset)
    protocol = Protocol(5, users, min(users, 3), batches, with_replacement=with_replacement)
    measurement = Measurement(protocol, Distributed(torch.device("cpu")), "auto", meter)
    measure_cost(measurement, [subject("hydra4rec", 12)], dataset)
    assert {row.batch: len(row.request_cpu_seconds) for row in measurement.rows} == requests


def test_there_are_no_rounds_without_batches(
    meter: Meter, subject: Callable[..., Subject], cycle_dataset: Path
) -> None:
    protocol = Protocol(5, 15, 3, (), lengths=(5,))
    measurement = Measurement(protocol, Distributed(torch.device("cpu")), "auto", meter)
    measure_cost(measurement, [subject("sasrec", 12)], read_sequences(cycle_dataset))
    assert measurement.rows == []


def test_cpu_time_is_that_of_the_rounds_alone(row: MakeRow) -> None:
    """Whatever else took the CPU, and whatever the timed samples did; in each round another request is disturbed."""
    timed = [row(7.0, sample=i, cpu_seconds=99.0, request_cpu_seconds=[9.0, 9.0, 9.0]) for i in range(3)]
    rounds = [
        replace(one, kind="cost", request_cpu_seconds=spent)
        for one, spent in zip(timed, ([0.1, 5.0, 0.3], [0.2, 0.2, 5.0], [5.0, 0.3, 0.4]), strict=True)
    ]
    (result,) = results([*timed, *rounds], seed=0)
    assert result.cpu_seconds_per_user
    assert result.cpu_seconds_per_user.value == pytest.approx((0.1 + 0.2 + 0.3) / 10)
    assert result.mean.value == pytest.approx(0.7)
    assert results(timed, seed=0)[0].cpu_seconds_per_user is None


def test_interval_of_a_cost_is_that_of_its_own_statistic(row: MakeRow) -> None:
    """Requests of unequal histories, and rounds whose noise only adds; the last request has half the users."""
    rng = numpy.random.default_rng(5)
    requests, batch, users = 40, 4, 158
    true = rng.gamma(4.0, 0.01, requests)
    spent = true + rng.exponential(0.02, (15, requests))  # (rounds, requests)
    timed = [row(7.0, sample=i, users=users, request_seconds=[0.1] * requests) for i in range(2)]
    rounds = [row(sample=i, kind="cost", users=users, request_cpu_seconds=own.tolist()) for i, own in enumerate(spent)]
    (result,) = results([*timed, *rounds], seed=0)
    found = result.cpu_seconds_per_user
    assert found
    least, of = spent.min(axis=0), numpy.array([*[batch] * (requests - 1), 2])
    assert found.value == pytest.approx(least.sum() / users)
    assert found.low < found.value < found.high
    assert found.n == requests
    drawn = rng.integers(requests, size=(20_000, requests))
    again = least[drawn].sum(axis=1) / of[drawn].sum(axis=1)
    assert (found.low, found.high) == pytest.approx(numpy.percentile(again, [2.5, 97.5]).tolist(), rel=0.03)


def test_the_cost_of_a_single_request_has_no_interval(row: MakeRow) -> None:
    one = {"batch": 10, "request_seconds": [1.0]}
    rounds = [row(sample=i, kind="cost", request_cpu_seconds=[1.0 + i], **one) for i in range(3)]
    (result,) = results([*(row(sample=i, **one) for i in range(2)), *rounds], seed=0)
    found = result.cpu_seconds_per_user
    assert found
    assert (found.value, found.low, found.high, found.n) == (0.1, 0.1, 0.1, 1)


def test_threads_are_taken_and_given_back() -> None:
    before = torch.get_num_threads()
    with computing_threads(before + 1):
        assert torch.get_num_threads() == before + 1
        with computing_threads(0):
            assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before

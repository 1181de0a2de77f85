"""What is timed gives the right suggestions; rows are whole, their times add up, and models take turns."""

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.latency import TimedSample
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.latency.meter import Meter
from ssm4rec.latency.protocol import Protocol, draw_users
from ssm4rec.latency.timing import Measurement, Subject, Task, measure_users, user_requests
from ssm4rec.models.serving import ServingState
from ssm4rec.runtime.energy import EnergyMeter, Spent
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.distributed import Distributed

CPU = torch.device("cpu")
NAMES = ["sasrec", "mamba4rec", "2mamba4rec", "hydra4rec", "lrurec"]
PROTOCOL = Protocol(samples=5, users=15, single_users=3, batches=(4, 1), warm_up=2)


@pytest.fixture
def dataset(cycle_dataset: Path) -> SequenceDataset:
    return read_sequences(cycle_dataset)


@pytest.fixture
def long_dataset(write_dataset: Callable[..., Path]) -> SequenceDataset:
    """Users of up to 79 events among 60 items; the models read 50."""
    random = numpy.random.default_rng(0)
    lengths = [3, 20, 50, 51, 52, 53, 79]
    return read_sequences(write_dataset([[60, *random.integers(1, 61, length - 1).tolist()] for length in lengths]))


def measure(
    meter: Meter, subjects: list[Subject], dataset: SequenceDataset, protocol: Protocol = PROTOCOL
) -> list[TimedSample]:
    measurement = Measurement(protocol, Distributed(CPU), "auto", meter)
    measure_users(measurement, subjects, dataset)
    return measurement.rows


@pytest.mark.parametrize("name", NAMES)
def test_suggestions_are_the_ten_best_of_the_whole_catalog(
    name: str, subject: Callable[..., Subject], long_dataset: SequenceDataset
) -> None:
    data, tested = long_dataset, subject(name, 60)
    model, window = tested.model, tested.model.max_length
    users = numpy.array([6, 2, 0, 1, 5, 3, 4])
    measurement = Measurement(PROTOCOL, Distributed(CPU), "auto", Meter())
    for mode in tested.modes():
        requests = list(user_requests(data, users, 3, window, CPU))
        answers = measurement.answer(Task(tested, mode, 3), requests)
        assert answers.seconds.shape == (3, 3)
        assert (answers.seconds > 0).all()
        for user, suggested in zip(users, answers.suggestions, strict=True):
            start, target = data.offsets[user], data.test_position[user]
            stop = target + (mode == "step")  # a step adds the event that was the target
            # A recurrent model's step forgets nothing, SASRec's window slides.
            first = max(0, target - window) if name != "sasrec" else max(0, stop - window)
            history = torch.from_numpy(data.items[start + first : start + stop].astype(numpy.int64))[None]
            with torch.no_grad():
                scores = model.score_next(history, torch.tensor([history.shape[1]]))[0]
            torch.testing.assert_close(scores[suggested - 1], scores.sort(descending=True).values[:10])
            assert len(set(suggested.tolist())) == 10


@pytest.mark.parametrize("name", ["sasrec", "2mamba4rec", "hydra4rec"])
def test_suggestions_are_evaluations_where_a_history_is_longer_than_what_is_read(
    name: str, subject: Callable[..., Subject], write_dataset: Callable[..., Path]
) -> None:
    """A repeat term of -50 leaves no item that was had among the best: they are evaluation's best unseen items."""
    random = numpy.random.default_rng(0)
    data = read_sequences(
        write_dataset([[150, *random.integers(1, 151, length - 1).tolist()] for length in (20, 52, 90)])
    )
    tested = subject(name, 150)
    model, window = tested.model, tested.model.max_length
    assert model.repeat_term is not None
    model.repeat_term.start.fill_(-50.0)
    expected = full_ranking(model.score_next, data, "test", window, CPU, candidate_count=10).candidates
    measurement = Measurement(PROTOCOL, Distributed(CPU), "auto", Meter())
    requests = list(user_requests(data, numpy.arange(3), 3, window, CPU))
    assert measurement.answer(Task(tested, "full", 3), requests).suggestions.tolist() == expected.tolist()
    if "step" in tested.modes():
        answers = measurement.answer(Task(tested, "step", 3), requests).suggestions
        for user, suggested in enumerate(answers.tolist()):
            assert not set(suggested) & set(data.items[data.offsets[user] : data.offsets[user + 1]].tolist())


def test_rows_are_whole_and_times_add_up(
    meter: Meter, subject: Callable[..., Subject], dataset: SequenceDataset
) -> None:
    rows = measure(meter, [subject("sasrec", 12), subject("hydra4rec", 12)], dataset)
    assert [row.order for row in rows] == list(range(len(rows)))
    combinations = {(row.model, row.mode, row.batch, row.sample) for row in rows}
    modes = [("sasrec", "full"), ("sasrec", "step"), ("hydra4rec", "full")]
    assert len(rows) == len(combinations)
    assert combinations == {(*mode, batch, sample) for mode in modes for batch in (4, 1) for sample in range(5)}
    for row in rows:
        assert row.users == (3 if row.batch == 1 else 15)
        assert len(row.request_seconds) == (3 if row.batch == 1 else 4)
        assert row.forward_seconds + row.scoring_seconds + row.topk_seconds == pytest.approx(row.total_seconds)
        assert sum(row.request_seconds) == pytest.approx(row.total_seconds)
        # The meter's shares: 1, 2 and 4 of 7; its times grow by 7 ms from one request to the next.
        assert row.scoring_seconds == pytest.approx(row.total_seconds * 2 / 7)
        assert row.topk_seconds == pytest.approx(row.total_seconds * 4 / 7)
        assert numpy.diff(row.request_seconds) == pytest.approx(7e-3)
        assert (row.state_bytes is None) == (row.mode == "full")
        assert 0 < row.mean_length <= row.mean_padded_length
        assert row.wall_seconds > 0
        assert row.cpu_seconds > 0
        assert row.request_cpu_seconds == pytest.approx([3 / 7 * seconds for seconds in row.request_seconds])
        assert (row.device, row.precision, row.kernels, row.compiled) == ("cpu", "fp32", "auto", False)
        assert row.threads == torch.get_num_threads()


def test_a_sample_is_charged_what_the_counters_rose_by(
    meter: Meter, subject: Callable[..., Subject], dataset: SequenceDataset
) -> None:
    class Rising(EnergyMeter):
        """The n-th reading of the packages is n squared joules, so that a sample between two takes 2 n + 1."""

        count = 0

        def read(self) -> Spent:
            self.count += 1
            return Spent(0.0, float(self.count**2), None)

    measurement = Measurement(PROTOCOL, Distributed(CPU), "auto", meter, Rising("", ""))
    measure_users(measurement, [subject("hydra4rec", 12)], dataset)
    # The first sample lies between readings 1 and 2, the second between 3 and 4.
    assert [row.package_joules for row in measurement.rows] == [4 * place + 3 for place in range(len(measurement.rows))]
    assert {row.gpu_joules for row in measurement.rows} == {None}


def test_warm_up_requests_are_answered_and_left_out(
    meter: Meter, subject: Callable[..., Subject], dataset: SequenceDataset
) -> None:
    (first, *_) = measure(meter, [subject("hydra4rec", 12)], dataset, Protocol(5, 6, 6, (2,), warm_up=2))
    # Five requests without a clock before the first sample, two before each: its own are the 8th to the 10th.
    assert first.request_seconds == pytest.approx([7e-3 * count for count in (8, 9, 10)])


def test_a_step_is_timed_after_a_step_of_another_state(
    subject: Callable[..., Subject], dataset: SequenceDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = subject("2mamba4rec", 12)
    advance, seen = tested.model.advance, []

    class Watched(Meter):
        def start(self) -> None:
            seen.append("clock")
            super().start()

    def watched(state: ServingState, items: torch.Tensor) -> ServingState:
        seen.append(state.events.tolist())
        return advance(state, items)

    monkeypatch.setattr(tested.model, "advance", watched)
    requests = list(user_requests(dataset, numpy.array([0, 1]), 2, tested.model.max_length, CPU))
    Measurement(PROTOCOL, Distributed(CPU), "auto", Watched()).answer(Task(tested, "step", 2), requests)
    read = requests[0].lengths.tolist()
    assert min(read) > 1
    assert seen[-3:] == [[1, 1], "clock", read]


def test_models_take_turns_in_random_order_on_the_same_users(
    meter: Meter, subject: Callable[..., Subject], dataset: SequenceDataset
) -> None:
    subjects = [subject(name, 12) for name in NAMES]

    def orders(seed: int) -> list[list[str]]:
        rows = measure(meter, subjects, dataset, Protocol(6, 10, 10, (10,), seed=seed))
        by_sample = [[row for row in rows if row.sample == sample] for sample in range(6)]
        assert [row.sample for row in rows] == sorted(row.sample for row in rows)
        for sample in by_sample:
            assert len({row.mean_length for row in sample}) == 1
        return [[f"{row.model} {row.mode}" for row in sample] for sample in by_sample]

    found = orders(seed=0)
    assert all(sorted(order) == sorted(found[0]) for order in found)
    assert len({tuple(order) for order in found}) == 6
    assert len({order[0] for order in found}) > 1
    assert orders(seed=0) == found
    assert orders(seed=1) != found


def test_a_sample_holds_each_user_once_unless_it_may_repeat(dataset: SequenceDataset) -> None:
    samples = draw_users(dataset, Protocol(users=40, single_users=1, batches=(1,)))
    assert len(samples) == 30
    assert all(sorted(sample) == list(range(40)) for sample in samples)
    assert len({tuple(sample) for sample in samples}) == 30
    with pytest.raises(InputError, match=r"only 40 users of toy .*--with-replacement true.*--users 40"):
        draw_users(dataset, Protocol(users=41, single_users=1, batches=(1,)))
    (sample, *_) = draw_users(dataset, Protocol(users=100, single_users=1, batches=(1,), with_replacement=True))
    assert (len(sample), set(sample) <= set(range(40))) == (100, True)


def test_users_without_a_target_are_not_drawn(write_dataset: Callable[..., Path]) -> None:
    data = read_sequences(write_dataset([[1, 2], [1, 2, 3], [2, 1], [3, 2, 1]]))
    samples = draw_users(data, Protocol(users=2, single_users=1, batches=(1,)))
    assert {user for sample in samples for user in sample} == {1, 3}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 4}, "--samples 4: at least 5"),
        ({"batches": (64, 2000)}, "--batches 2000: from 1 to the 1500 users"),
        ({"batches": ()}, "--batches: none; name at least one, such as 64, or --lengths"),
        ({"single_users": 0}, "--single-users 0"),
        ({"lengths": (50, 0)}, "--lengths 50,0"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Protocol(**settings)

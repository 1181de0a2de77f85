"""Models built for a length compute what they did before; every length is timed on the histories there are."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.latency.length_sweep import distinct, measure_lengths, stretch
from ssm4rec.latency.meter import Meter
from ssm4rec.latency.protocol import Protocol
from ssm4rec.latency.timing import Measurement, Request, Subject, Task, measure_users
from ssm4rec.models.item_words import item_words, train_tokenizer
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.distributed import Distributed

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["mamba4rec", "2mamba4rec", "hydra4rec", "lrurec"])
def test_a_stretched_model_keeps_its_weights(name: str, subject: Callable[..., Subject]) -> None:
    short = subject(name, 12)
    with torch.no_grad():  # as if it had been trained: fresh weights of its seed are others
        short.model.item_embedding.weight.add_(torch.randn_like(short.model.item_embedding.weight))
    long = stretch(short, 301, 12)
    assert (short.model.max_length, long.model.max_length, long.weights) == (50, 301, "trained")
    items, lengths = torch.tensor([[1, 5, 12, 3]]), torch.tensor([4])
    with torch.no_grad():
        torch.testing.assert_close(
            long.model.score_next(items, lengths), short.model.score_next(items, lengths), rtol=0, atol=1e-5
        )
        assert long.model.score_next(items.repeat(1, 75), torch.tensor([300])).shape == (1, 12)


def test_a_stretched_model_keeps_its_words() -> None:
    titles = [f"thing {item}" for item in range(12)]
    chosen = recipe("2mamba4rec", "smoke", "short", "model.item_vectors=id+text")
    model = chosen.model.build(12, item_words(titles, train_tokenizer(titles, 300))).eval()
    short = Subject(model, {"model": "2mamba4rec", "profile": "smoke", "seed": 0, "recipe": asdict(chosen)})
    long = stretch(short, 301, 12)
    items, lengths = torch.tensor([[1, 5, 12, 3]]), torch.tensor([4])
    with torch.no_grad():
        torch.testing.assert_close(long.model.score_next(items, lengths), model.score_next(items, lengths))


def test_sasrec_gets_random_weights_and_says_so(subject: Callable[..., Subject]) -> None:
    long = stretch(subject("sasrec", 12), 301, 12)
    assert (long.model.max_length, long.weights, long.model.training) == (301, "random", False)


def test_seeds_of_one_model_are_timed_once(subject: Callable[..., Subject]) -> None:
    subjects = [subject("sasrec", 12), subject("lrurec", 12), subject("sasrec", 12, seed=1)]
    assert [one.label for one in distinct(subjects)] == [("sasrec", "smoke", 0), ("lrurec", "smoke", 0)]


def test_every_length_on_generated_histories_and_on_real_ones_where_there_are(
    meter: Meter, subject: Callable[..., Subject], cycle_dataset: Path
) -> None:
    protocol = Protocol(5, 10, 10, (10,), lengths=(5, 13, 60))  # the longest history has 13 items
    measurement = Measurement(protocol, Distributed(CPU), "auto", meter)
    measure_lengths(measurement, [subject("sasrec", 12), subject("hydra4rec", 12)], read_sequences(cycle_dataset))
    found = {(row.length, row.histories) for row in measurement.rows}
    assert found == {(5, "generated"), (13, "generated"), (60, "generated"), (5, "data"), (13, "data")}
    assert len(measurement.rows) == len(found) * 4 * 5  # sasrec in three modes, hydra4rec in one, five samples
    assert {(row.model, row.mode) for row in measurement.rows} == {
        ("sasrec", "full"), ("sasrec", "step"), ("sasrec", "prefill"), ("hydra4rec", "full"),
    }  # fmt: skip
    for row in measurement.rows:
        assert (row.kind, row.users, row.batch, len(row.request_seconds)) == ("length", 1, 1, 1)
        assert row.mean_length == row.mean_padded_length == row.length
        # Keys and values of one layer of width 16 and the items, with room for the event after; hidden, a counter,
        # and a bit for each of 12 items.
        cache = 2 * 16 * 4 * (row.length + 1) + 8 * (row.length + 1) + 4 * 16 + 8 + 2
        assert row.state_bytes == (cache if row.mode == "step" else None)
        assert row.weights == ("random" if row.model == "sasrec" else "trained")
    assert [row.order for row in measurement.rows] == list(range(len(measurement.rows)))


def test_a_prefill_answers_as_the_whole_history_does(meter: Meter, subject: Callable[..., Subject]) -> None:
    measurement = Measurement(Protocol(5, 1, 1, (), lengths=(9,)), Distributed(CPU), "auto", meter)
    items = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5]])
    request = Request(items, torch.tensor([9]), torch.tensor([3]), items, 9)
    for name in ("sasrec", "mamba4rec", "2mamba4rec", "lrurec"):
        one = subject(name, 12)
        full, prefill = (
            measurement.answer(Task(one, mode, 1, "length", "generated", 9), [request]) for mode in ("full", "prefill")
        )
        assert torch.equal(full.suggestions, prefill.suggestions)


def test_without_batches_the_sweep_is_all(meter: Meter, subject: Callable[..., Subject], cycle_dataset: Path) -> None:
    measurement = Measurement(Protocol(5, 1000, 1, (), lengths=(5,)), Distributed(CPU), "auto", meter)
    measure_users(measurement, [subject("sasrec", 12)], read_sequences(cycle_dataset))
    assert measurement.rows == []

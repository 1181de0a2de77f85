"""Counting repeats, against a loop over the users."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.data.repeats import repeats, training_repeats


@pytest.mark.parametrize("block", [1, 7, 100, 10**6])
def test_repeats_equal_a_loop(write_dataset: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    """However many events are looked at together."""
    monkeypatch.setattr("ssm4rec.data.repeats.BLOCK", block)
    generator = numpy.random.default_rng(4)
    users = [generator.integers(1, 15, size=size).tolist() for size in generator.integers(3, 30, size=40)]
    dataset = read_sequences(write_dataset(users))
    flags, targets, repeated, had = [], 0, 0, []
    for user, (start, stop) in enumerate(zip(dataset.offsets, dataset.offsets[1:], strict=False)):
        items = dataset.items[start:stop].tolist()
        for place, item in enumerate(items):
            again = item in items[:place]
            flags.append(again)
            if 0 < place < dataset.train_length[user]:
                targets += 1
                repeated += again
                had.append(len(set(items[:place])))
    owners = numpy.repeat(numpy.arange(dataset.user_count), numpy.diff(dataset.offsets))
    assert repeats(owners, dataset.items).tolist() == flags
    found = training_repeats(dataset)
    assert (found.targets, found.repeated) == (targets, repeated)
    assert found.items_had == pytest.approx(numpy.mean(had))


def without_targets(lengths: list[int], train_length: list[int]) -> SequenceDataset:
    nothing = numpy.zeros(len(lengths), dtype=numpy.int32)
    offsets = numpy.concatenate([[0], numpy.cumsum(lengths, dtype=numpy.int64)])
    items = numpy.arange(offsets[-1], dtype=numpy.int32) % 1000 + 1
    train = numpy.array(train_length, dtype=numpy.int32)
    return SequenceDataset("toy", "", 1000, items, offsets, train, nothing - 1, nothing, nothing - 1, nothing)


def test_training_items_are_the_first_of_each_user() -> None:
    dataset = without_targets([0, 3, 2, 0, 1], [0, 1, 2, 0, 0])
    assert dataset.trained().tolist() == [True, False, False, True, True, False]
    assert without_targets([], []).trained().tolist() == []
    found = training_repeats(dataset)
    assert (found.targets, found.repeated, found.items_had) == (1, 0, 1.0)
    assert training_repeats(without_targets([], [])).targets == 0


def test_a_training_needs_few_bytes_per_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process of a training does this with all the data: 8 of them, on one node."""
    monkeypatch.setattr("ssm4rec.data.repeats.BLOCK", 10_000)
    monkeypatch.setattr("ssm4rec.artifacts.dataset.BLOCK_EVENTS", 10_000)
    dataset = without_targets([20] * 10_000, [18] * 10_000)
    tracemalloc.start()
    try:
        dataset.training_counts()
        training_repeats(dataset)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / len(dataset.items) < 4, "of blocks: all at once take 13 for the first, 50 for the second"

"""Counting repeats, against a loop over the users."""

from collections.abc import Callable
from pathlib import Path

import numpy
import pytest

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.data.repeats import repeats, training_repeats


def test_repeats_equal_a_loop(write_dataset: Callable[..., Path]) -> None:
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

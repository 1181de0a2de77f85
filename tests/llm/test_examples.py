"""Training prompts: drawn from training items alone, in an order that carries nothing."""

import itertools

import numpy
import pytest
from scipy.stats import chisquare

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.llm.examples import draw_examples
from ssm4rec.runtime.errors import InputError

NOTHING = numpy.empty(0, numpy.int32)


@pytest.fixture
def dataset(write_dataset):
    random = numpy.random.default_rng(0)
    return read_sequences(write_dataset([(random.permutation(60)[:12] + 1).tolist() for _ in range(30)]))


def draw(dataset, count, negatives=9, hard=0.0, retrieved=NOTHING, seed=0):
    return list(draw_examples(dataset, count, negatives, hard, retrieved, seed))


def test_every_training_item_but_the_first_is_asked_for_once(dataset):
    examples = draw(dataset, 30 * 9)
    asked = {(example.user, len(example.history)) for example in examples}
    assert asked == set(itertools.product(range(30), range(1, 10)))  # 12 items, 10 of them for training
    for example in examples:
        sequence = dataset.items[dataset.offsets[example.user] : dataset.offsets[example.user + 1]].tolist()
        assert example.history == sequence[: len(example.history)]
        assert example.candidates[example.place] == sequence[len(example.history)]


def test_candidates_are_different_items_outside_the_history(dataset):
    for example in draw(dataset, 500):
        assert len(set(example.candidates)) == 10
        assert not set(example.candidates) & set(example.history)


def test_the_right_letter_is_uniform(dataset):
    counts = numpy.bincount([example.place for example in draw(dataset, 5000)], minlength=10)
    assert chisquare(counts).pvalue > 0.001


def test_negatives_are_uniform_over_the_catalog(write_dataset):
    dataset = read_sequences(write_dataset([[1, 2, 3, 40], *([[1, 2, 3, 4]] * 50)]))
    others = [item for example in draw(dataset, 4000, 5) for item in example.candidates if item > 3]
    counts = numpy.bincount(others, minlength=41)[4:]
    assert chisquare(counts).pvalue > 0.001


def test_hard_negatives_come_as_often_as_they_are_retrieved(dataset):
    retrieved = numpy.repeat(numpy.array([58, 59, 60], numpy.int32), [10, 20, 70])
    examples = [example for example in draw(dataset, 2000, 1, 1.0, retrieved) if not {58, 59, 60} & {*example.history}]
    others = [item for example in examples for item in example.candidates if item != example.candidates[example.place]]
    asked = [example.candidates[example.place] for example in examples]
    assert {58, 59, 60} >= set(others)
    shares = numpy.bincount(others, minlength=61)[58:] / len(others)
    # Where one of the three is asked for it is no negative, so shares are near those retrieved, not equal to them.
    numpy.testing.assert_allclose(shares, [0.1, 0.2, 0.7], atol=0.04)
    assert len(set(asked)) > 30
    half = draw(dataset, 1000, 2, 0.5, retrieved)
    hard = sum({58, 59, 60} >= {*example.candidates} - {example.candidates[example.place]} for example in half)
    assert 350 < hard < 550


def test_seeds(dataset):
    assert draw(dataset, 20, seed=3) == draw(dataset, 20, seed=3)
    assert draw(dataset, 20, seed=3) != draw(dataset, 20, seed=4)


def test_held_out_items_are_neither_told_nor_asked_for(write_dataset):
    """Other held-out items change nothing in what is told and asked for."""
    start = [[user + step + 1 for step in range(6)] for user in range(6)]
    first = read_sequences(write_dataset([[*items, 30, 31] for items in start], folder="first"))
    second = read_sequences(write_dataset([[*items, 20, 31] for items in start], folder="second"))
    assert draw(first, 200, 5) == draw(second, 200, 5)
    assert not any({30, 31} & {*example.history} for example in draw(first, 200, 5))


def test_too_little_data_is_said(write_dataset):
    with pytest.raises(InputError, match="no user has two training items"):
        draw(read_sequences(write_dataset([[1, 2, 3], [2, 3, 4]], folder="short")), 5)
    with pytest.raises(InputError, match="12 items are too few to draw 19 candidates in addition to the right one"):
        draw(read_sequences(write_dataset([list(range(1, 13))], folder="small")), 5, 19)

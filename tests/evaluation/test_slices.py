"""Slices: every user once, in the part that its definition says; coverage and Gini by closed forms."""

import numpy
import pytest

from ssm4rec.evaluation.slices import (
    coverage,
    gini,
    parts_by_history_length,
    parts_by_popularity,
    recommendation_counts,
)


@pytest.mark.parametrize(
    "lengths",
    [
        numpy.random.default_rng(0).integers(3, 200, 500),
        numpy.random.default_rng(0).geometric(0.4, 500) + 2,  # many ties
        numpy.full(9, 4),
        numpy.array([3, 8]),
    ],
)
def test_every_user_has_one_history_length(lengths: numpy.ndarray) -> None:
    parts = parts_by_history_length(lengths)
    assert (numpy.sum(list(parts.values()), axis=0) == 1).all()
    assert all(users.any() for users in parts.values())
    longest = 0
    for name, users in parts.items():
        bounds = [int(bound) for bound in name.split("-")]
        assert (lengths[users].min(), lengths[users].max()) == (bounds[0], bounds[-1])
        assert lengths[users].min() > longest
        longest = lengths[users].max()


def test_quarters_of_different_lengths_are_equal() -> None:
    lengths = numpy.random.default_rng(1).permutation(400) + 3
    assert [int(users.sum()) for users in parts_by_history_length(lengths).values()] == [100, 100, 100, 100]
    assert list(parts_by_history_length(lengths)) == ["3-102", "103-202", "203-302", "303-402"]


def test_head_is_a_fifth_of_the_catalog() -> None:
    random = numpy.random.default_rng(2)
    counts = numpy.concatenate([[0], random.integers(0, 50, 23)])
    parts = parts_by_popularity(numpy.arange(1, 24), counts)  # every item is a target once
    assert parts["head"].sum() == 5  # ceil(23 / 5)
    assert (parts["head"] != parts["tail"]).all()
    assert counts[1:][parts["head"]].min() >= counts[1:][parts["tail"]].max()


def test_means_of_parts_add_up_to_the_whole() -> None:
    random = numpy.random.default_rng(3)
    gains, lengths, targets = random.random(300), random.integers(3, 30, 300), random.integers(1, 41, 300)
    for parts in (
        parts_by_history_length(lengths),
        parts_by_popularity(targets, numpy.arange(41)),
    ):
        weighted = sum(users.mean() * gains[users].mean() for users in parts.values())
        assert weighted == pytest.approx(gains.mean())


def test_gini_closed_forms() -> None:
    assert gini(numpy.full(7, 3)) == 0
    assert gini(numpy.array([0, 0, 0, 0, 12])) == pytest.approx(1 - 1 / 5)
    # Item i of V has i recommendations: (V - 1) / (3 V).
    assert gini(numpy.arange(1, 11)) == pytest.approx(9 / 30)
    # k of V items share all: 1 - k / V.
    assert gini(numpy.array([0, 5, 0, 5, 0, 5, 0, 0])) == pytest.approx(1 - 3 / 8)


def test_gini_is_half_the_relative_mean_difference() -> None:
    counts = numpy.random.default_rng(4).poisson(2, 60)
    difference = abs(counts[:, None] - counts).mean()
    assert gini(counts) == pytest.approx(difference / (2 * counts.mean()))


def test_recommendations_are_counted_without_padding() -> None:
    recommended = numpy.array([[3, 1, 0], [3, 0, 0], [5, 3, 1]], dtype=numpy.int32)
    counts = recommendation_counts(recommended, 6)
    assert counts.tolist() == [2, 0, 3, 0, 1, 0]
    assert coverage(counts) == 3 / 6

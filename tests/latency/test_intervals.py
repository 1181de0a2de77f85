"""The rule for outliers and the intervals: against closed forms, and how often they cover the truth."""

from collections.abc import Callable

import numpy
import pytest
from numpy.random import Generator
from scipy import stats

from ssm4rec.artifacts.estimate import CONFIDENCE, Estimate
from ssm4rec.latency.intervals import (
    fenced_interval,
    mean_interval,
    mean_without_outliers,
    median_interval,
    outliers,
)

MEASUREMENTS, SAMPLES, RESAMPLES = 1000, 30, 599
Draw = Callable[[Generator], numpy.ndarray]


def lognormal(sigma: float) -> Draw:
    return lambda random: random.lognormal(0, sigma, SAMPLES)


def disturbed(random: Generator) -> numpy.ndarray:
    """One sample in twenty takes three times as long."""
    return lognormal(0.1)(random) * numpy.where(random.random(SAMPLES) < 0.05, 3, 1)


@pytest.mark.parametrize(
    ("interval", "draw", "truth"),
    [
        # A log-normal's mean is exp(sigma^2 / 2), its median 1. Skewness 0.78 and 1.75, then 6.2.
        pytest.param(mean_interval, lognormal(0.25), numpy.exp(0.25**2 / 2), id="mean, skewed"),
        pytest.param(mean_interval, lognormal(0.5), numpy.exp(0.5**2 / 2), id="mean, more skewed"),
        pytest.param(median_interval, lognormal(1), 1.0, id="median, very skewed"),
        pytest.param(fenced_interval, disturbed, numpy.exp(0.1**2 / 2), id="without outliers, the undisturbed mean"),
    ],
)
def test_coverage(interval: Callable[..., Estimate], draw: Draw, truth: float) -> None:
    random = numpy.random.default_rng(1)
    found = [interval(draw(random), random, resamples=RESAMPLES) for _ in range(MEASUREMENTS)]
    covered = sum(one.low <= truth <= one.high for one in found)
    assert 930 <= covered <= 970


def test_outliers_taken_as_settled_would_cover_less() -> None:
    """Why the rule is bootstrapped with the mean: Student's interval of what it leaves is too narrow."""
    random = numpy.random.default_rng(1)
    covered = 0
    for _ in range(MEASUREMENTS):
        values = lognormal(0.1)(random)
        kept = values[~outliers(values)]
        reach = stats.t.ppf((1 + CONFIDENCE) / 2, len(kept) - 1) * stats.sem(kept)
        covered += abs(kept.mean() - numpy.exp(0.1**2 / 2)) <= reach
    assert covered < 930


@pytest.mark.parametrize(("n", "ones"), [(30, 12), (12, 5), (8, 4)])
def test_the_mean_of_zeros_and_ones_is_resampled_as_a_binomial(n: int, ones: int) -> None:
    values = numpy.repeat([0.0, 1.0], [n - ones, ones])
    found = mean_interval(values, numpy.random.default_rng(0), resamples=50_000)
    tail = stats.norm.sf(stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * (n / (n - 1)) ** 0.5)
    binomial = stats.binom(n, ones / n)
    assert found.value == ones / n
    assert [found.low * n, found.high * n] == pytest.approx([binomial.ppf(tail), binomial.isf(tail)])


def test_a_normal_sample_gets_students_interval() -> None:
    values = 10 + stats.norm.ppf((numpy.arange(30) + 0.5) / 30)
    found = mean_interval(values, numpy.random.default_rng(0), resamples=50_000)
    low, high = stats.t.interval(CONFIDENCE, 29, loc=values.mean(), scale=stats.sem(values))
    assert (found.low - 10, found.high - 10) == pytest.approx((low - 10, high - 10), rel=0.02)


@pytest.mark.parametrize("n", [11, 31])
def test_the_median_is_resampled_as_an_order_statistic(n: int) -> None:
    """A resample's median is at most the k-th value if more than half of its n values are: each is with k / n."""
    values = numpy.arange(1.0, n + 1)
    found = median_interval(values, numpy.random.default_rng(0), resamples=50_000)
    at_most = stats.binom.sf((n - 1) // 2, n, values / n)
    tail = (1 - CONFIDENCE) / 2
    assert (found.low, found.high) == (
        values[numpy.argmax(at_most >= tail)],
        values[numpy.argmax(at_most >= 1 - tail)],
    )


def test_without_outliers_nothing_is_removed() -> None:
    values = numpy.linspace(1, 2, 30)
    assert not outliers(values).any()
    found = fenced_interval(values, numpy.random.default_rng(0))
    assert found.value == pytest.approx(values.mean())


def test_the_fences_of_ten_values() -> None:
    # Quartiles of 1..9 and x at places 2.25 and 6.75 from 0: 3.25 and 7.75; the upper fence is 7.75 + 6.75 = 14.5.
    for last, out in ((14.4, False), (14.6, True), (1000.0, True)):
        assert outliers(numpy.array([*range(1, 10), last]))[-1] == out
    assert mean_without_outliers(numpy.array([*range(1, 10), 1000.0])) == 5


def test_the_rule_works_row_by_row() -> None:
    table = numpy.random.default_rng(0).standard_cauchy((50, 20))
    rows = [mean_without_outliers(row) for row in table]
    assert mean_without_outliers(table, axis=1) == pytest.approx(rows)
    assert mean_without_outliers(table.T, axis=0) == pytest.approx(rows)


def test_equal_samples_have_an_interval_of_no_width() -> None:
    for interval in (mean_interval, median_interval, fenced_interval):
        assert interval(numpy.full(5, 0.25), numpy.random.default_rng(0)) == Estimate(0.25, 0.25, 0.25, 5)

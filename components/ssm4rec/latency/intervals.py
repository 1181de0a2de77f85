"""The rule for outliers, and bootstrap confidence intervals that hold what they promise.

All intervals are percentile intervals of ``scipy.stats.bootstrap`` over the samples. Chosen by simulation: 1,000
measurements of 30 samples from normal and log-normal distributions (sigma 0.1, 0.25, 0.5), nominal 95%.

- Mean of all samples: the level is widened as Hesterberg (2015), "What teachers should know about the bootstrap",
  proposes, so that a normal sample gets the width of Student's interval; without that, 92 to 95% covered, with it 94
  to 96%. BCa intervals covered as much within 1%, basic ones less. At sigma 1 (a skewness of 6) it covers 88%, BCa
  91%: there the median is to be read.
- Ratio of sums: the level is widened like the mean's.
- Median: as scipy gives it, 95% whatever the distribution.
- Mean without outliers: the rule is applied again in every resample. Intervals that take the outliers as settled are
  too narrow: 86 to 92% covered, this one 95%. It is an interval for what the rule leaves of the distribution, which
  for one without outliers but with a long tail lies below the mean: 1.5% below it at sigma 0.25.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy
from numpy.typing import NDArray
from scipy import stats

from ssm4rec.artifacts.estimate import CONFIDENCE, Estimate

Floats = NDArray[numpy.float64]

RESAMPLES: Final = 9999

OUTLIER_RULE: Final = "Tukey's fences: below Q1 - 1.5 (Q3 - Q1) or above Q3 + 1.5 (Q3 - Q1) of a group's samples"


def outliers(values: Floats, axis: int = -1) -> NDArray[numpy.bool_]:
    """Return which values lie outside Tukey's fences along an axis; quartiles are interpolated linearly.

    >>> outliers(numpy.array([1.0, 2.0, 3.0, 4.0, 7.0, 7.1])).tolist()  # Q1 2.25, Q3 6.25: the fences are -3.75, 12.25
    [False, False, False, False, False, False]
    >>> outliers(numpy.array([1.0, 2.0, 3.0, 4.0, 9.0])).tolist()  # Q1 2, Q3 4: the fences are -1 and 7
    [False, False, False, False, True]
    """
    lower, upper = numpy.percentile(values, [25, 75], axis=axis, keepdims=True)
    reach = 1.5 * (upper - lower)
    outside: NDArray[numpy.bool_] = (values < lower - reach) | (values > upper + reach)
    return outside


def mean_without_outliers(values: Floats, axis: int = -1) -> Floats:
    """Return the mean along an axis of the values inside the fences.

    >>> float(mean_without_outliers(numpy.array([1.0, 2.0, 3.0, 4.0, 9.0])))
    2.5
    """
    kept = ~outliers(values, axis)
    mean: Floats = numpy.where(kept, values, 0).sum(axis) / kept.sum(axis)
    return mean


def mean_interval(values: Floats, rng: numpy.random.Generator, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean of samples (n,), n at least 2, and its interval."""
    return _interval((values,), numpy.mean, _widened(len(values)), rng, resamples)


def ratio_interval(
    amounts: Floats, counts: Floats, rng: numpy.random.Generator, resamples: int = RESAMPLES
) -> Estimate:
    """Return the sum of amounts (n,) / the sum of counts (n,), n at least 2, and its interval over the n pairs."""

    def ratio(amounts: Floats, counts: Floats, axis: int = -1) -> Floats:
        found: Floats = amounts.sum(axis) / counts.sum(axis)
        return found

    return _interval((amounts, counts), ratio, _widened(len(amounts)), rng, resamples)


def _widened(n: int) -> float:
    """Return the level at which a percentile interval of n normal samples is as wide as Student's at 95%."""
    reach = stats.t.ppf((1 + CONFIDENCE) / 2, n - 1) * (n / (n - 1)) ** 0.5  # the bootstrap's variance divides by n
    return 1 - 2 * float(stats.norm.sf(reach))


def median_interval(values: Floats, rng: numpy.random.Generator, resamples: int = RESAMPLES) -> Estimate:
    """Return the median of samples (n,), n at least 2, and its interval."""
    return _interval((values,), numpy.median, CONFIDENCE, rng, resamples)


def fenced_interval(values: Floats, rng: numpy.random.Generator, resamples: int = RESAMPLES) -> Estimate:
    """Return the mean without outliers of samples (n,), n at least 2, and its interval."""
    return _interval((values,), mean_without_outliers, CONFIDENCE, rng, resamples)


def _interval(
    samples: tuple[Floats, ...],
    statistic: Callable[..., Any],
    level: float,
    rng: numpy.random.Generator,
    resamples: int,
) -> Estimate:
    found = stats.bootstrap(
        samples,
        statistic,
        confidence_level=level,
        n_resamples=resamples,
        method="percentile",
        paired=len(samples) > 1,
        rng=rng,
    ).confidence_interval
    return Estimate(float(statistic(*samples)), float(found.low), float(found.high), len(samples[0]))

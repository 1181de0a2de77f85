"""How sure an evaluation is: intervals over users, tests of pairs of models, intervals over seeds.

A gain is what one user adds to a metric (``metrics.gains_at``). Every resample is drawn once for all columns of the
gains (models, metrics, protocols), so that a pair's difference is the difference of two columns of the same resample:
everything is paired, and all pairs cost one matrix product. Users from whom no column gains anything change no sum;
only how many of them a resample draws matters, which is binomial, so they need no drawing.

Intervals over users say how the numbers would vary with other users of the same kind, for the trained models as they
are. Intervals over seeds say how they would vary with other trainings, for the same users. They are kept apart.

Shapes: U users, C columns, R resamples, P pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy
import scipy.stats
from numpy.typing import NDArray

CONFIDENCE: Final = 0.95
POWER: Final = 0.8
"""Chance to find a difference as large as ``smallest_difference``."""

Floats = NDArray[numpy.float64]

_CELLS: Final = 2**23
"""Numbers of a block of resamples: 64 MiB of float64 (measured: a quarter of it made the product 1.5 times as slow)."""
_TIE: Final = 1e-12
"""Means nearer than this are equal: rounding of sums in another order (about 1e-16) must not break ties."""


def bootstrap_means(gains: Floats, resamples: int, random: numpy.random.Generator) -> Floats:
    """Return the columns' means over U users drawn with replacement, R times, (R, C).

    Args:
        gains: (U, C).
        resamples: R.
        random: gives the draws.
    """
    users = len(gains)
    active = _active(gains)
    means = numpy.zeros((resamples, gains.shape[1]))
    if not len(active):
        return means
    for first, rows in _blocks(resamples, len(active)):
        counts = numpy.empty((rows, len(active)))
        for count in counts:
            drawn = random.integers(len(active), size=random.binomial(users, len(active) / users))
            count[:] = numpy.bincount(drawn, minlength=len(active))
        means[first : first + rows] = counts @ active
    return means / users


def flipped_means(gains: Floats, resamples: int, random: numpy.random.Generator) -> Floats:
    """Return the columns' means after each user's gains got a random sign, R times, (R, C).

    The difference of two columns is the mean of the users' differences with random signs: what the difference of two
    models would be if each user's two gains were swapped with probability 1/2.

    Args:
        gains: (U, C).
        resamples: R.
        random: gives the signs.
    """
    active = _active(gains)
    means = numpy.zeros((resamples, gains.shape[1]))
    if not len(active):
        return means
    for first, rows in _blocks(resamples, len(active)):
        bits = numpy.frombuffer(random.bytes(rows * len(active) // 8 + 1), dtype=numpy.uint8)
        positive = numpy.unpackbits(bits, count=rows * len(active)).reshape(rows, -1).astype(numpy.float64)
        means[first : first + rows] = 2 * (positive @ active) - active.sum(axis=0)
    return means / len(gains)


def interval(draws: Floats) -> tuple[float, float]:
    """Return the percentile interval of bootstrap draws (R,): their 2.5% and 97.5% quantiles."""
    low, high = numpy.quantile(draws, ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2))
    return float(low), float(high)


def bootstrap_p_value(draws: Floats) -> float:
    """Return the two-sided p-value of a difference of zero from bootstrap draws of the difference (R,).

    p = 2 (1 + min(#{draws <= 0}, #{draws >= 0})) / (R + 1), at most 1: one less the confidence of the widest
    percentile interval without zero.

    >>> bootstrap_p_value(numpy.array([-1.0, 1, 2, 3, 4, 5, 6, 7, 8]))  # 2 (1 + 1) / (9 + 1)
    0.4
    """
    beyond = min(int((draws <= _TIE).sum()), int((draws >= -_TIE).sum()))
    return min(1.0, 2 * (1 + beyond) / (len(draws) + 1))


def permutation_p_value(difference: float, flipped: Floats) -> float:
    """Return the two-sided p-value of a difference from the differences after random sign flips (R,).

    p = (1 + #{abs(flipped) >= abs(difference)}) / (R + 1): the observed signs are one of the possible assignments,
    so p is never 0 (Phipson and Smyth, 2010).

    >>> permutation_p_value(2.0, numpy.array([-3.0, -2, -1, 0, 1, 0, 1, 0, 1]))  # (1 + 2) / (9 + 1)
    0.3
    """
    beyond = int((abs(flipped) >= abs(difference) - _TIE).sum())
    return (1 + beyond) / (len(flipped) + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for P tests at once (Holm, 1979): the family-wise error stays below a level.

    The k-th smallest is multiplied by P - k + 1; no adjusted value is smaller than that of a smaller p, none above 1.

    >>> [round(p, 3) for p in holm([0.04, 0.01, 0.03])]  # .01 * 3, .03 * 2, then max(.04 * 1, .06)
    [0.06, 0.03, 0.06]
    """
    order = numpy.argsort(p_values, kind="stable")
    factors = numpy.arange(len(p_values), 0, -1)
    adjusted = numpy.empty(len(p_values))
    adjusted[order] = numpy.minimum(numpy.maximum.accumulate(numpy.asarray(p_values)[order] * factors), 1)
    return [float(p) for p in adjusted]


def smallest_difference(differences: Floats) -> float:
    """Return the smallest true mean difference that a test on these users would find with a chance of 80%.

    (z(0.975) + z(0.8)) s / sqrt(U) = 2.80 s / sqrt(U), for one two-sided test at 5%; s is the standard deviation of
    the users' differences (U,), U >= 2. Holm's correction over many pairs needs larger ones.
    """
    quantiles = scipy.stats.norm.ppf((1 + CONFIDENCE) / 2) + scipy.stats.norm.ppf(POWER)
    return float(quantiles * differences.std(ddof=1) / numpy.sqrt(len(differences)))


@dataclass(frozen=True)
class SeedSpread:
    """A metric over trainings that differ in the seed alone.

    Attributes:
        mean: over the seeds.
        deviation: standard deviation (n - 1); None with one seed.
        low, high: 95% interval of the mean, Student's t; None with one seed.
    """

    mean: float
    deviation: float | None
    low: float | None
    high: float | None


def seed_spread(values: Sequence[float]) -> SeedSpread:
    """Return the spread of a metric's values, one a seed."""
    mean = float(numpy.mean(values))
    if len(values) < 2:
        return SeedSpread(mean, None, None, None)
    deviation = float(numpy.std(values, ddof=1))
    half = float(scipy.stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * deviation / numpy.sqrt(len(values)))
    return SeedSpread(mean, deviation, mean - half, mean + half)


def _active(gains: Floats) -> Floats:
    """Return the users from whom any column gains something."""
    return gains[gains.any(axis=1)]


def _blocks(resamples: int, users: int) -> list[tuple[int, int]]:
    """Return the first resample and the number of resamples of each block."""
    rows = max(1, _CELLS // users)
    return [(first, min(rows, resamples - first)) for first in range(0, resamples, rows)]

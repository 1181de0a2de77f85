"""How sure an evaluation is: intervals over users, tests of pairs of models, intervals over seeds.

A gain is what one target adds to a metric (``metrics.gains_at``), and a metric is the mean over the targets. Targets of
one user are not independent, so whole users are drawn (cluster bootstrap): functions take each user's sum of gains, and
how many targets it is the sum of (``by_user``). Every resample is drawn once for all columns of the gains (models,
metrics, protocols), so that a pair's difference is the difference of two columns of the same resample: everything is
paired, and all pairs cost one matrix product. Users from whom no column gains anything change no sum; only how many of
them a resample draws matters, which is binomial, so they need no drawing.

Intervals over users say how the numbers would vary with other users of the same kind, for the trained models as they
are. Intervals over seeds say how they would vary with other trainings, for the same users. They are kept apart.

Shapes: T targets, U users, C columns, R resamples, P pairs.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy
import scipy.special
from numpy.typing import NDArray

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.artifacts.estimate import CONFIDENCE, NORMAL_EFFECT, POWER, Difference, Estimate

Floats = NDArray[numpy.float64]

_CELLS: Final = 2**23
"""Numbers of a block of resamples: 64 MiB of float64 (measured: a quarter of it made the product 1.5 times as slow)."""
_TIE: Final = 1e-12
"""Means nearer than this are equal: rounding of sums in another order (about 1e-16) must not break ties."""


def by_user(gains: Floats, users: Int32s) -> tuple[Floats, Int64s]:
    """Return each user's sum of the targets' gains (T, ...), (U, ...), and number of targets, (U,).

    ``users`` says whose targets they are, ascending, (T,).

    >>> by_user(numpy.array([0.5, 1.0, 0.25]), numpy.array([4, 4, 7]))
    (array([1.5 , 0.25]), array([2, 1]))
    """
    first = numpy.flatnonzero(numpy.diff(users, prepend=-1))
    if len(first) == len(users):
        return gains, numpy.ones(len(users), dtype=numpy.int64)
    return numpy.add.reduceat(gains, first, axis=0), numpy.diff(first, append=len(users))


def bootstrap_means(
    gains: Floats, resamples: int, rng: numpy.random.Generator, targets: Int64s | None = None
) -> Floats:
    """Return the columns' means over the targets of U users drawn with replacement, R times, (R, C).

    ``gains`` are each user's sums, (U, C), over so many ``targets``, (U,); None: one each.
    """
    if targets is not None and (targets > 1).any():
        both = bootstrap_means(numpy.column_stack([gains, targets]), resamples, rng)
        return both[:, :-1] / both[:, -1:]
    users = len(gains)
    active = gains[gains.any(axis=1)]
    means = numpy.zeros((resamples, gains.shape[1]))
    for first, rows in _blocks(resamples, len(active)):
        counts = numpy.empty((rows, len(active)))
        for count in counts:
            drawn = rng.integers(len(active), size=rng.binomial(users, len(active) / users))
            count[:] = numpy.bincount(drawn, minlength=len(active))
        means[first : first + rows] = counts @ active
    return means / users


def flipped_means(gains: Floats, resamples: int, rng: numpy.random.Generator, targets: Int64s | None = None) -> Floats:
    """Return the columns' means after each user's gains got a random sign, R times, (R, C).

    The difference of two columns is the mean of the differences with random signs: what the difference of two models
    would be if each user's gains were swapped, all or none, with probability 1/2.

    ``gains`` are each user's sums, (U, C), over so many ``targets``, (U,); None: one each.
    """
    active = gains[gains.any(axis=1)]
    means = numpy.zeros((resamples, gains.shape[1]))
    for first, rows in _blocks(resamples, len(active)):
        bits = numpy.frombuffer(rng.bytes(rows * len(active) // 8 + 1), dtype=numpy.uint8)
        positive = numpy.unpackbits(bits, count=rows * len(active)).reshape(rows, -1).astype(numpy.float64)
        means[first : first + rows] = 2 * (positive @ active) - active.sum(axis=0)
    return means / (len(gains) if targets is None else targets.sum())


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


def standard_error(gains: Floats, targets: Int64s | None = None) -> float:
    """Return the standard error of the mean over all targets, from U >= 2 users drawn.

    With one target a user s / sqrt(U), s the users' standard deviation (U - 1). With several, the mean is a ratio of
    two sums over users, and its linear approximation takes the place of the gains (Cochran 1977, 6.13):
    e_u = (g_u - mean t_u) / (T / U), g_u the user's sum in ``gains`` and t_u their ``targets``; None: one each.

    >>> round(standard_error(numpy.array([1.0, 2.0, 3.0, 4.0])), 4)  # sqrt(5 / 3) / 2
    0.6455
    """
    numbers = numpy.ones(len(gains)) if targets is None else targets
    errors = (gains - gains.sum() / numbers.sum() * numbers) / numbers.mean()
    return float(errors.std(ddof=1) / numpy.sqrt(len(gains)))


def difference_over_users(sums: Floats, targets: Int64s, draws: Floats, p_holm: float | None = None) -> Difference:
    """Return the mean difference over all targets, with its bootstrap interval over U >= 2 users.

    ``sums`` are each user's differences summed over their ``targets``, (U,), and ``draws`` the bootstrap's of the mean,
    (R,). The MDE is for one two-sided test at 5%; Holm's correction over many pairs needs larger differences.
    """
    effect = NORMAL_EFFECT * standard_error(sums, targets)
    return Difference(float(sums.sum() / targets.sum()), *interval(draws), len(sums), p_holm, effect)


def mean_over_seeds(values: Sequence[float]) -> Estimate:
    """Return the mean of a number's values, one per seed, and its interval by Student's t; one seed has none."""
    mean, count = float(numpy.mean(values)), len(values)
    if count < 2:
        return Estimate(mean, math.nan, math.nan, count)
    reach = scipy.special.stdtrit(count - 1, (1 + CONFIDENCE) / 2)
    half = float(reach * numpy.std(values, ddof=1) / numpy.sqrt(count))
    return Estimate(mean, mean - half, mean + half, count)


def difference_over_seeds(values: Sequence[float]) -> Difference:
    """Return the mean of differences, one per seed, with its interval by Student's t.

    The MDE is t(0.975) + t(0.8) standard errors, with n - 1 degrees of freedom.
    """
    found, degrees = mean_over_seeds(values), len(values) - 1
    effect = None
    if found.has_interval:
        tested, missed = scipy.special.stdtrit(degrees, ((1 + CONFIDENCE) / 2, POWER))
        effect = (found.high - found.value) * float(1 + missed / tested)
    return Difference(found.value, found.low, found.high, found.n, mde=effect)


def _blocks(resamples: int, users: int) -> list[tuple[int, int]]:
    """Return the first resample and the number of resamples of each block; none without users."""
    if not users:
        return []
    rows = max(1, _CELLS // users)
    return [(first, min(rows, resamples - first)) for first in range(0, resamples, rows)]

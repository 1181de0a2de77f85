"""An estimate with its 95% interval (90% in the room ``scaling``), a difference of two, and the one verdict on it.

The criterion, wherever something is called better or worse: a difference is *significant* if its 95% interval excludes
zero and, where it was tested together with others, its p-value after Holm's correction is below 5%. The two are stated
together, so what is printed cannot contradict the verdict. What is not significant is called that, with the minimum
detectable effect (MDE) where it is known: the smallest true difference that a single test at 5% on the same data would
find with a chance of 80%.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import NormalDist
from typing import Annotated, Final

from pydantic import AfterValidator

from ssm4rec.artifacts.codec import Count, Number, Share

CONFIDENCE: Final = 0.95
SIGNIFICANCE: Final = 0.05
POWER: Final = 0.8
"""Chance to find a difference as large as the MDE."""
NORMAL_REACH: Final = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
NORMAL_EFFECT: Final = NORMAL_REACH + NormalDist().inv_cdf(POWER)
"""The MDE in standard errors of a normally distributed difference, z(0.975) + z(0.8) = 2.80."""
NOT_SIGNIFICANT: Final = "not significant"
_ZERO: Final = 1e-12
"""Rounding of a mean of zeros."""

Format = Callable[[float], str]
PLAIN: Final[Format] = "{:.4f}".format
SIGNED: Final[Format] = "{:+.4f}".format


@dataclass(frozen=True)
class Estimate:
    """A value and its 95% interval.

    ``low`` and ``high``: bounds of the interval; nan where there is none, as of a single seed (in no file). ``n``: the
    independent observations it is made of: users, seeds or timed samples.
    """

    value: Number
    low: Number
    high: Number
    n: Count

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")
        if (self.low == self.low) != (self.high == self.high):
            raise ValueError("one bound of the interval is missing")

    @property
    def has_interval(self) -> bool:
        """Whether there is an interval; a single observation has none."""
        return self.low == self.low

    def side(self, least: float | Decimal, most: float | Decimal | None = None) -> int:
        """Return where the interval lies next to a number, or next to a range: 1 above, -1 below, 0 neither.

        >>> latency_ratio = Estimate(3.1, 2.2, 4.3, 30)
        >>> latency_ratio.side(1), latency_ratio.side(4), latency_ratio.side(4.4, 5)
        (1, 0, -1)
        """
        return int(self.low > (least if most is None else most)) - int(self.high < least)

    def text(self, number: Format = PLAIN) -> str:
        """Return the value and its interval; without one the value alone.

        >>> Estimate(0.0123, 0.004, 0.0286, 943).text()
        '0.0123 [0.0040, 0.0286]'
        """
        value = number(self.value)
        return f"{value} [{number(self.low)}, {number(self.high)}]" if self.has_interval else value


@dataclass(frozen=True)
class Difference(Estimate):
    """An estimate of X - Y.

    ``p_holm``: two-sided, corrected for all differences that it was tested with; None: it was not tested, the interval
    alone decides. ``mde``: the minimum detectable effect; None: not known.
    """

    p_holm: Share | None = None
    mde: Number | None = None

    @property
    def sign(self) -> int:
        """The verdict as a number: 1 significantly above zero, -1 significantly below, 0 not significant."""
        return self.side(0) if self.p_holm is None or self.p_holm < SIGNIFICANCE else 0

    @property
    def nothing_differs(self) -> bool:
        """Whether every value is zero: a mean of zeros, without a spread, says nothing of what would be found."""
        return self.mde is not None and abs(self.mde) < _ZERO and abs(self.value) < _ZERO

    def detectable(self) -> str:
        """Return in a sentence which true difference would have been found; "" where that is not known.

        >>> Difference(0.0123, -0.004, 0.0286, 943, mde=0.023).detectable()
        'A true difference of 0.0230 would have been found with a chance of 80%.'
        >>> Difference(0.0, 0.0, 0.0, 943, mde=0.0).detectable()
        'None of the 943 values differs at all.'
        """
        if self.mde is None:
            return ""
        if self.nothing_differs:
            return f"None of the {self.n:,} values differs at all."
        return f"A true difference of {PLAIN(self.mde)} would have been found with a chance of {POWER:.0%}."

    def reversed(self) -> "Difference":
        """Return Y - X, without negative zeros."""
        return replace(self, value=0.0 - self.value, low=0.0 - self.high, high=0.0 - self.low)

    def text(self, number: Format = SIGNED) -> str:
        """Return the value and its interval, with signs.

        >>> Difference(0.0123, -0.004, 0.0286, 943).text()
        '+0.0123 [-0.0040, +0.0286]'
        """
        return super().text(number)

    def stated(self, number: Format = SIGNED) -> str:
        """Return value, interval and corrected p together.

        >>> Difference(0.0123, -0.004, 0.0286, 943, p_holm=0.0314).stated()
        '+0.0123 [-0.0040, +0.0286], Holm-corrected p 0.031'
        """
        if self.p_holm is None or not self.has_interval:
            return self.text(number)
        return f"{self.text(number)}, Holm-corrected p {p_text(self.p_holm)}"

    def verdict(self, above: str, below: str, number: Format = PLAIN) -> str:
        """Return what may be said: ``above`` or ``below`` if it is significant, or that it is not.

        >>> Difference(0.0123, -0.004, 0.0286, 943, p_holm=0.2, mde=0.023).verdict("better", "worse")
        'not significant (MDE 0.0230)'
        >>> Difference(0.0123, 0.004, 0.0206, 943, p_holm=0.01, mde=0.012).verdict("better", "worse")
        'better'
        >>> Difference(0.0, 0.0, 0.0, 943, mde=0.0).verdict("better", "worse")
        'not significant (no value differs)'
        """
        if not self.has_interval:
            return f"not tested (n = {self.n})"
        if self.sign:
            return above if self.sign > 0 else below
        if self.nothing_differs:
            return f"{NOT_SIGNIFICANT} (no value differs)"
        return NOT_SIGNIFICANT + ("" if self.mde is None else f" (MDE {number(self.mde)})")


def p_text(p: float) -> str:
    """Return a p-value as text.

    What is below 5% does not become 5% by rounding: the text would contradict the verdict.

    >>> p_text(0.00002), p_text(0.0314), p_text(0.0497), p_text(0.05)
    ('< 0.001', '0.031', '< 0.05', '0.050')
    """
    if p < 0.001:
        return "< 0.001"
    return "< 0.05" if SIGNIFICANCE - 0.0005 <= p < SIGNIFICANCE else f"{p:.3f}"


def normal_difference(value: float, standard_error: float, n: int) -> Difference:
    """Return a difference of which only the standard error is known, taken as normally distributed.

    >>> difference = normal_difference(0.01, 0.01, 400)  # 1.96 and 1.96 + 0.84 standard errors
    >>> difference.stated(), difference.verdict("better", "worse")
    ('+0.0100 [-0.0096, +0.0296]', 'not significant (MDE 0.0280)')
    """
    reach = NORMAL_REACH * standard_error
    return Difference(value, value - reach, value + reach, n, mde=NORMAL_EFFECT * standard_error)


def interval_text(value: float, standard_error: float | None, number: Format = PLAIN) -> str:
    """Return a metric's mean with the 95% interval that its standard error gives, not below 0; without one the mean.

    >>> interval_text(0.1, 0.01), interval_text(0.01, 0.01), interval_text(0.1, None)
    ('0.1000 [0.0804, 0.1196]', '0.0100 [0.0000, 0.0296]', '0.1000')
    """
    if standard_error is None:
        return number(value)
    reach = NORMAL_REACH * standard_error
    return f"{number(value)} [{number(max(0.0, value - reach))}, {number(value + reach)}]"


def _of_a_share(estimate: Estimate) -> Estimate:
    if not 0 <= estimate.value <= 1:
        raise ValueError("value is not between 0 and 1")
    return estimate


def _tested(difference: Difference) -> Difference:
    if difference.p_holm is None or difference.mde is None:
        raise ValueError("p_holm or mde is missing")
    return difference


ShareEstimate = Annotated[Estimate, AfterValidator(_of_a_share)]
"""Of a metric."""
TestedDifference = Annotated[Difference, AfterValidator(_tested)]
"""With both p_holm and mde."""

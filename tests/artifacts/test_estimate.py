"""Estimates, and the one verdict on a difference."""

import math
from pathlib import Path

import pytest
import scipy.stats

from ssm4rec.artifacts.codec import read_document
from ssm4rec.artifacts.estimate import Difference, Estimate, normal_difference
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import write_json


@pytest.mark.parametrize(
    ("low", "high", "p_holm", "sign"),
    [
        (0.001, 0.02, None, 1),
        (-0.02, -0.001, None, -1),
        (-0.001, 0.02, None, 0),
        (0.0, 0.02, None, 0),
        (0.001, 0.02, 0.049, 1),
        (0.001, 0.02, 0.05, 0),
        (-0.02, -0.001, 0.01, -1),
        # What is printed together must not contradict itself: both have to exclude zero.
        (-0.001, 0.02, 0.01, 0),
        (math.nan, math.nan, None, 0),
    ],
)
def test_significant_is_what_interval_and_corrected_p_both_say(
    low: float, high: float, p_holm: float | None, sign: int
) -> None:
    difference = Difference(0.01, low, high, 100, p_holm, mde=0.014)
    assert difference.sign == sign
    words = "not tested (n = 100)" if math.isnan(low) else ("not significant (MDE 0.0140)", "more", "less")[sign]
    assert difference.verdict("more", "less") == words


def test_the_reverse_has_the_reverse_verdict() -> None:
    difference = Difference(0.01, 0.001, 0.02, 100, 0.01, 0.014)
    assert difference.reversed() == Difference(-0.01, -0.02, -0.001, 100, 0.01, 0.014)
    assert Difference(0.0, 0.0, 0.0, 1).reversed().text() == "+0.0000 [+0.0000, +0.0000]"


def test_a_normal_difference_is_scipys() -> None:
    difference = normal_difference(0.02, 0.01, 400)
    assert (difference.low, difference.high) == pytest.approx(scipy.stats.norm.interval(0.95, 0.02, 0.01))
    assert difference.mde == pytest.approx(0.01 * (scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8)))
    assert difference.verdict("more", "less") == "more"


def test_swapped_bounds_are_refused_where_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "estimate.json"
    write_json(path, {"value": 0.1, "low": 0.2, "high": 0.0, "n": 3})
    with pytest.raises(InputError, match="low is above high"):
        read_document(path, Estimate, "an estimate", "its stage")


@pytest.mark.parametrize("p", [0.0495, 0.0499999, 0.05, 0.0505, 0.0494, 0.00099])
def test_a_rounded_p_does_not_contradict_the_verdict(p: float) -> None:
    difference = Difference(0.1, 0.05, 0.2, 10, p_holm=p)
    printed = difference.stated().rpartition(" p ")[2]
    below = printed.startswith("<") or float(printed) < 0.05
    assert below == (difference.verdict("better", "worse") == "better")


def test_an_interval_has_both_bounds_or_none() -> None:
    with pytest.raises(ValueError, match="one bound of the interval is missing"):
        Estimate(0.1, float("nan"), 0.2, 5)
    untested = Difference(0.1, float("nan"), float("nan"), 1, p_holm=0.01)
    assert (untested.stated(), untested.verdict("better", "worse")) == ("+0.1000", "not tested (n = 1)")

"""Profile intervals against the textbook's, where there is one."""

import numpy
import pytest
import scipy.optimize
import scipy.stats

from ssm4rec.scaling.forms import DATA
from ssm4rec.scaling.point import Problem, best_law
from ssm4rec.scaling.profile import Profile
from ssm4rec.scaling.runs import columns, log_losses
from tests.scaling.studies import study


def test_with_little_noise_and_squares_it_is_students_interval() -> None:
    """Far below delta the Huber loss is the square, and a smooth law is linear: estimate ± t standard errors."""
    runs, true = study(DATA, numpy.random.default_rng(0))
    problem = Problem(DATA, columns(runs, DATA.columns), log_losses(runs), delta=1.0)

    def log_loss(data: numpy.ndarray, floor: float, size: float, exponent: float) -> numpy.ndarray:
        return numpy.log(floor + size * numpy.exp(-exponent * (data - problem.centre[0])))

    start = true[0], true[1] * numpy.exp(-true[2] * problem.centre[0]), true[2]
    found, covariance = scipy.optimize.curve_fit(log_loss, problem.logs[:, 0], problem.losses, start)
    reach = scipy.stats.t.ppf(0.95, len(runs) - 3) * numpy.sqrt(numpy.diag(covariance))
    law = best_law(problem)
    for place in (0, 2):
        span = Profile(problem, law, place).span(0.9)
        middle, half = (span.low + span.high) / 2, (span.high - span.low) / 2
        assert half == pytest.approx(reach[place], rel=0.05)
        assert middle == pytest.approx(found[place], abs=0.15 * reach[place])
        assert not any([span.open_below, span.open_above])


def test_without_a_term_any_exponent_fits() -> None:
    rng = numpy.random.default_rng(1)
    runs, _ = study(DATA, rng)
    flat = Problem(DATA, columns(runs, DATA.columns), numpy.log(4) + rng.normal(0, 0.002, len(runs)))
    law = best_law(flat)
    span = Profile(flat, law, 2).span(0.9)
    assert span.open_below or span.open_above
    assert span.high - span.low > 2

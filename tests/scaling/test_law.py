"""A fitted law as a report reads it: numbers, intervals, what is not identified, predictions."""

import numpy
import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.scaling.forms import DATA, PARAMETERS, WIDTH_DEPTH
from ssm4rec.scaling.law import fit
from ssm4rec.scaling.runs import Run, columns
from tests.scaling.studies import grid, study, with_losses


def test_a_clear_law_is_identified() -> None:
    runs, numbers = study(PARAMETERS, numpy.random.default_rng(3))
    law = fit(runs, PARAMETERS, resamples=20)
    assert law.identified
    assert law.verdict() == "a law in parameters and data is identified"
    assert law.floor.value == pytest.approx(numbers[0], rel=0.05)
    assert law.numbers[1].estimate.low < law.values[1] < law.numbers[1].estimate.high
    assert law.noise == pytest.approx(law.seed_noise, rel=0.5)


def test_the_same_seed_gives_the_same_law() -> None:
    runs, _ = study(DATA, numpy.random.default_rng(4))
    first, again, other = (fit(runs, DATA, 5, seed) for seed in (0, 0, 1))
    assert (first.draws == again.draws).all()
    assert (first.draws != other.draws).any()


def test_a_power_without_a_floor_has_none() -> None:
    """A straight line in logarithms over five octaves: a small floor fits as well."""
    rng = numpy.random.default_rng(5)
    runs = grid()
    line = with_losses(runs, 12 * numpy.exp(-0.06 * columns(runs, ["data"])[:, 0]), 0.003, rng)
    law = fit(line, DATA, resamples=2)
    assert law.floor.problem == "its interval reaches zero"
    assert law.verdict().startswith("a law in data alone is not identified (floor: its interval reaches zero")


def test_a_term_that_is_not_there_leaves_the_floor_open() -> None:
    """The loss depends on data only; the form has parameters, too."""
    rng = numpy.random.default_rng(6)
    runs, _ = study(DATA, rng)
    law = fit(runs, PARAMETERS, resamples=2)
    assert law.exponents[0].problem
    assert not law.exponents[1].problem
    assert "exponent of parameters" in law.verdict()
    assert not law.identified


def test_prediction_has_the_noise_and_the_laws_doubt() -> None:
    runs, numbers = study(PARAMETERS, numpy.random.default_rng(7))
    law = fit(runs, PARAMETERS, resamples=50)
    far = Run(100_000_000, 1024, 8, 100_000_000, 1.0)
    near, farther = law.predict([runs[30], far])
    assert near.value == pytest.approx(law.form.loss(law.values, columns([runs[30]], law.form.columns))[0])
    assert (near.high - near.low) / near.value == pytest.approx(2 * 1.67 * law.noise, rel=0.3)
    assert (farther.high - farther.low) / farther.value > (near.high - near.low) / near.value
    assert farther.low <= PARAMETERS.loss(numbers, columns([far], PARAMETERS.columns))[0] <= farther.high


def test_too_little_is_refused() -> None:
    two_depths = grid(depths=(1, 2), octaves=3)
    with pytest.raises(InputError, match="2 values of depth: a saturating law in depth needs 3 or more"):
        fit(two_depths, WIDTH_DEPTH)
    with pytest.raises(InputError, match=r"3 cells .* for the 3 numbers of the law: train more cells"):
        fit([Run(10, 8, 1, 100 * size, 4.0 + 1 / size) for size in (1, 2, 3)], DATA)


@pytest.mark.parametrize(
    ("field", "value"), [("data", 0), ("parameters", 0), ("loss", 0.0), ("loss", float("nan")), ("loss", float("inf"))]
)
def test_a_run_that_has_no_logarithm_is_refused(field: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{field} of a run is {value}"):
        Run(**{"parameters": 10, "width": 8, "depth": 1, "data": 100, "loss": 4.0, field: value})

"""The test of lack of fit against the textbook's, and what it is for: a floor of a form that is not the truth."""

from dataclasses import replace

import numpy
import pytest
import scipy.stats

from ssm4rec.scaling.forms import DATA, PARAMETERS
from ssm4rec.scaling.lack_of_fit import lack_of_fit
from ssm4rec.scaling.law import MISFIT, fit
from ssm4rec.scaling.point import Problem, best_law
from ssm4rec.scaling.runs import Run, cells, columns, log_losses
from tests.scaling.studies import OTHER_FORMS, grid, study, study_of_another_form


def test_it_is_the_f_test_of_the_law_within_the_model_of_a_mean_per_cell() -> None:
    """Nested least squares: a dummy variable for each cell, by numpy."""
    runs, _ = study(DATA, numpy.random.default_rng(0))
    problem = Problem(DATA, columns(runs, DATA.columns), log_losses(runs), delta=1.0)  # squares, and nothing is cut
    law, places = best_law(problem), list(cells(runs).values())
    dummies = numpy.zeros((len(runs), len(places)))
    for number, cell in enumerate(places):
        dummies[cell, number] = 1
    full = float(numpy.linalg.lstsq(dummies, problem.losses)[1][0])
    reduced = float((problem.residuals(law) ** 2).sum())
    freedom = len(places) - 3, len(runs) - len(places)
    ratio = (reduced - full) / freedom[0] / (full / freedom[1])
    found = lack_of_fit(problem, law, places)
    assert found is not None
    assert (found.ratio, found.p_value) == pytest.approx((ratio, scipy.stats.f.sf(ratio, *freedom)))
    assert found.cells == sum(len(cell) == 3 for cell in places)


@pytest.mark.parametrize("kind", OTHER_FORMS)
def test_a_form_that_is_not_the_truth_identifies_no_floor(kind: str) -> None:
    runs, floor = study_of_another_form(kind, 0.002, numpy.random.default_rng(5))
    law = fit(runs, PARAMETERS, resamples=2)
    assert law.misfit is not None
    assert law.misfit.significant
    assert not law.identified
    assert [one.problem for one in law.numbers] == [MISFIT, "", "", MISFIT, MISFIT]
    assert f"exponent of data: {MISFIT}, as cells lie " in law.verdict()
    assert " times as far from it as seeds from each other, p " in law.verdict()
    assert floor > 0


def test_one_training_that_went_wrong_is_no_lack_of_fit() -> None:
    runs, _ = study(PARAMETERS, numpy.random.default_rng(3))
    law = fit(runs, PARAMETERS, resamples=2)
    assert law.misfit is not None
    spoilt = [replace(run, loss=run.loss * (1.1 if place == 40 else 1)) for place, run in enumerate(runs)]
    other = fit(spoilt, PARAMETERS, resamples=2)
    assert other.misfit is not None
    assert other.identified
    assert other.misfit.ratio > law.misfit.ratio


def test_with_one_seed_per_cell_it_cannot_be_told() -> None:
    runs, _ = study(PARAMETERS, numpy.random.default_rng(3), grid(seeds=1))
    law = fit(runs, PARAMETERS, resamples=2)
    assert law.misfit is None
    assert law.identified


def test_losses_without_noise_fit() -> None:
    """Seeds that are equal to the last digit: what rounding leaves is no lack of fit."""
    runs = [
        Run(10, 8, 1, data, 4 + 60 / data**0.5, seed=seed) for data in (100, 300, 1000, 3000, 9000) for seed in (0, 1)
    ]
    law = fit(runs, DATA, resamples=2)
    assert law.misfit is not None
    assert not law.misfit.significant

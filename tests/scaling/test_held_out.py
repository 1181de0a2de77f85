"""Forms by their error on cells left out, and the largest runs predicted."""

import numpy
import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.scaling.forms import DATA, PARAMETERS, WIDTH_DEPTH
from ssm4rec.scaling.held_out import cell_errors, compare_forms, predict_largest
from ssm4rec.scaling.point import Problem, best_law, fitted_problem
from ssm4rec.scaling.runs import cells, columns, log_losses
from tests.scaling.studies import grid, study


@pytest.mark.parametrize("form", [PARAMETERS, WIDTH_DEPTH], ids=lambda form: form.name)
def test_the_form_that_made_the_runs_predicts_best(form) -> None:
    runs, _ = study(form, numpy.random.default_rng(0), grid(octaves=3))
    best, worse = compare_forms(runs, (PARAMETERS, WIDTH_DEPTH))
    assert best.form == form
    assert best.excess is None
    assert worse.excess.sign > 0
    assert worse.error > best.error


def test_a_cell_is_predicted_by_the_others() -> None:
    """The same with a law fitted from nothing, without the cell."""
    runs, _ = study(DATA, numpy.random.default_rng(1), grid(octaves=4))
    errors = cell_errors(runs, DATA)
    place, cell = 5, list(cells(runs).values())[5]
    others = [run for number, run in enumerate(runs) if number not in cell]
    delta = fitted_problem(Problem(DATA, columns(runs, DATA.columns), log_losses(runs)))[0].delta
    problem = Problem(DATA, columns(others, DATA.columns), log_losses(others), delta)
    losses = DATA.loss(problem.numbers(best_law(problem)), columns(runs, DATA.columns))
    expected = numpy.mean([abs(numpy.log(runs[one].loss / losses[one])) for one in cell])
    assert errors[place] == pytest.approx(expected, rel=1e-3)


def test_the_largest_cells_are_left_out_with_all_their_seeds() -> None:
    runs, _ = study(PARAMETERS, numpy.random.default_rng(10))
    found = predict_largest(runs, PARAMETERS, share=0.2, resamples=40)
    costs = [run.parameters * run.data for run in runs]
    assert len(found.runs) == 12  # a fifth of 60 cells, none of the small corner
    assert min(run.parameters * run.data for run in found.runs) >= sorted(costs)[-13]
    assert found.fitted == len(runs) - 12
    assert found.inside == sum(
        one.low <= run.loss <= one.high for run, one in zip(found.runs, found.predictions, strict=True)
    )
    assert found.as_announced
    assert found.error < 0.02


def test_runs_above_the_law_are_found_outside() -> None:
    """Training of the large ones that went wrong."""
    runs, _ = study(PARAMETERS, numpy.random.default_rng(3))
    large = sorted(run.parameters * run.data for run in runs)[-12]
    worse = [
        type(run)(**{**vars(run), "loss": 1.1 * run.loss}) if run.parameters * run.data >= large else run
        for run in runs
    ]
    found = predict_largest(worse, PARAMETERS, resamples=40)
    assert found.inside == 0
    assert not found.as_announced
    assert (found.rate, found.chance) == (0.0, pytest.approx(0, abs=0.01))


def test_a_share_that_is_none_is_refused() -> None:
    runs, _ = study(DATA, numpy.random.default_rng(4))
    with pytest.raises(InputError, match=r"share of cells to leave out is 1\.5: give one between 0 and 1"):
        predict_largest(runs, DATA, share=1.5)

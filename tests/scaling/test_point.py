"""The best law: its gradient, known laws, and an independent optimizer of the same objective."""

import numpy
import pytest
import scipy.optimize

from ssm4rec.scaling.forms import FORMS, PARAMETERS, WIDTH_DEPTH, Form
from ssm4rec.scaling.point import Problem, best_law, fitted_problem, starts
from ssm4rec.scaling.runs import columns, log_losses
from tests.scaling.studies import grid, study, with_losses


def problem_of(runs: list, form: Form, delta: float = 1e-3) -> Problem:
    return Problem(form, columns(runs, form.columns), log_losses(runs), delta)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_gradient_is_that_of_differences(form: Form) -> None:
    rng = numpy.random.default_rng(0)
    problem = problem_of(study(form, rng)[0], form)
    for start in starts(problem)[:2]:
        law = start + rng.normal(0, 0.05, len(start))
        numeric = scipy.optimize.approx_fprime(law, lambda one: problem.objective(one)[0], 1e-7)
        assert problem.objective(law)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_law_without_noise_is_found(form: Form) -> None:
    rng = numpy.random.default_rng(1)
    runs, numbers = study(form, rng)
    exact = with_losses(runs, form.loss(numbers, columns(runs, form.columns)), 0.0, rng)
    problem = problem_of(exact, form)
    assert problem.numbers(best_law(problem)) == pytest.approx(numbers, rel=2e-3)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("form", [PARAMETERS, WIDTH_DEPTH], ids=lambda form: form.name)
def test_no_worse_than_another_optimizer_on_the_same_objective(form: Form, seed: int) -> None:
    """scipy's trust-region least squares, from the truth, with its own Huber loss and differences for the gradient."""
    runs, true = study(form, numpy.random.default_rng(seed))
    problem, law = fitted_problem(problem_of(runs, form))
    terms = len(form.columns)

    def residuals(point: numpy.ndarray) -> numpy.ndarray:
        numbers = numpy.concatenate([numpy.exp(point[: 1 + terms]), point[1 + terms :]])
        return problem.losses - numpy.log(form.loss(numbers, problem.logs))

    start = numpy.concatenate([numpy.log(true[: 1 + terms]), true[1 + terms :]])
    found = scipy.optimize.least_squares(
        residuals, start, loss="huber", f_scale=problem.delta, x_scale="jac", max_nfev=500
    )
    theirs = found.cost / problem.delta**2
    assert problem.objective(law)[0] <= theirs * (1 + 1e-6)


def test_a_failed_run_moves_the_law_little() -> None:
    runs, _ = study(PARAMETERS, numpy.random.default_rng(5))
    broken = [*runs[:-1], type(runs[0])(**{**vars(runs[-1]), "loss": 2 * runs[-1].loss})]
    laws = [p.numbers(law) for p, law in (fitted_problem(problem_of(one, PARAMETERS)) for one in (runs, broken))]
    assert laws[1][0] == pytest.approx(laws[0][0], rel=0.02)
    assert laws[1][3:] == pytest.approx(laws[0][3:], rel=0.05)


def test_units_of_the_data_do_not_matter() -> None:
    """In thousands of interactions the coefficient is another one, floor and exponents are the same."""
    runs, _ = study(PARAMETERS, numpy.random.default_rng(6), grid(octaves=4))
    problem = problem_of(runs, PARAMETERS)
    thousands = Problem(PARAMETERS, problem.logs - [0, numpy.log(1000)], problem.losses)
    ours, theirs = problem.numbers(best_law(problem)), thousands.numbers(best_law(thousands))
    assert theirs[[0, 3, 4]] == pytest.approx(ours[[0, 3, 4]], rel=1e-3)
    assert theirs[2] == pytest.approx(ours[2] / 1000 ** ours[4], rel=0.02)

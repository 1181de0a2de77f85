"""What a law says of runs that it was not fitted to: forms compared by it, and the largest runs predicted.

Shapes: n runs, c cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy

from ssm4rec.artifacts.estimate import SIGNIFICANCE, Difference, Estimate
from ssm4rec.evaluation.statistics import difference_over_seeds
from ssm4rec.runtime.errors import InputError
from ssm4rec.scaling.forms import Form
from ssm4rec.scaling.law import fit
from ssm4rec.scaling.point import Problem, fitted_problem, refine
from ssm4rec.scaling.runs import Floats, Run, cells, check_runs, columns, log_losses


@dataclass(frozen=True)
class FormError:
    """How far off a form is at cells that it was not fitted to.

    ``error``: the mean over cells of abs(log measured - log predicted), about the share of the loss.
    ``excess``: that error less the best form's, mean over the cells, with its 95% interval by Student's t: the house's
    criterion of what is worse; None of the best form itself.
    """

    form: Form
    error: float
    excess: Difference | None


def compare_forms(runs: Sequence[Run], forms: Sequence[Form]) -> list[FormError]:
    """Return each form's error with every cell left out in turn, the best form first.

    Raises:
        InputError: too few runs for one of the forms (``check_runs``).
    """
    errors = {form.name: cell_errors(runs, form) for form in forms}
    order = sorted(forms, key=lambda form: float(errors[form.name].mean()))
    best = errors[order[0].name]
    return [
        FormError(
            form,
            float(errors[form.name].mean()),
            None if form == order[0] else difference_over_seeds(list(errors[form.name] - best)),
        )
        for form in order
    ]


def cell_errors(runs: Sequence[Run], form: Form) -> Floats:
    """Return each cell's mean abs(log measured - log predicted) by the law of all other cells, (c,)."""
    places = list(cells(runs).values())
    check_runs(runs, form.columns, form.size + 1)
    problem, law = fitted_problem(Problem(form, columns(runs, form.columns), log_losses(runs)))
    errors = numpy.empty(len(places))
    for number, cell in enumerate(places):
        kept = numpy.ones(len(runs), dtype=bool)
        kept[cell] = False
        others = replace(problem, logs=problem.logs[kept], losses=problem.losses[kept])
        numbers = others.numbers(refine(others, problem.moved(law, others)))
        predicted = numpy.log(form.loss(numbers, problem.logs[cell]))
        errors[number] = abs(problem.losses[cell] - predicted).mean()
    return errors


@dataclass(frozen=True)
class Extrapolation:
    """The largest runs as the law of the smaller ones predicted them.

    ``predictions``: a value and 90% prediction interval for each of ``runs``. ``chance``: of so few runs in their
    intervals, or fewer, if the law of the smaller runs holds for the largest: the share of simulated studies. The runs
    share one law, so that they tend to be all in or all out. ``fitted``: how many runs the law was fitted to.
    """

    form: Form
    runs: tuple[Run, ...]
    predictions: tuple[Estimate, ...]
    chance: float
    fitted: int

    @property
    def inside(self) -> int:
        """How many runs' losses lie in their intervals."""
        return sum(one.low <= run.loss <= one.high for run, one in zip(self.runs, self.predictions, strict=True))

    @property
    def rate(self) -> float:
        """The share of the runs in their intervals, to be held against the nominal 90% (``LEVEL``)."""
        return self.inside / len(self.runs)

    @property
    def as_announced(self) -> bool:
        """Whether that may be chance, at the house's 5%: if not, the law does not reach to the largest runs."""
        return self.chance >= SIGNIFICANCE

    @property
    def error(self) -> float:
        """The mean of abs(log measured - log predicted), about the share of the loss."""
        measured, predicted = log_losses(self.runs), numpy.log([one.value for one in self.predictions])
        return float(abs(measured - predicted).mean())


def predict_largest(
    runs: Sequence[Run], form: Form, share: float = 0.2, resamples: int = 200, seed: int = 0
) -> Extrapolation:
    """Leave out that share of the cells which cost the most FLOPs, fit the others, and predict what was left out.

    Without FLOPs of every run, the cost is 6 ``parameters`` ``data``.

    Raises:
        InputError: the others are too few for the form (``check_runs``).
    """
    if not 0 < share < 1:
        raise InputError(f"share of cells to leave out is {share}: give one between 0 and 1, such as 0.2")
    places = list(cells(runs).values())
    counted = all(run.flops > 0 for run in runs)
    costs = [
        numpy.mean([runs[one].flops if counted else 6.0 * runs[one].parameters * runs[one].data for one in cell])
        for cell in places
    ]
    count = max(1, round(share * len(places)))
    largest = {place for number in numpy.argsort(costs, kind="stable")[-count:] for place in places[number]}
    left_out = tuple(run for place, run in enumerate(runs) if place in largest)
    smaller = [run for place, run in enumerate(runs) if place not in largest]
    law = fit(smaller, form, resamples, seed)
    predictions = law.predict(left_out)
    simulated = law.simulated(left_out)
    lows, highs = law.intervals(simulated)
    counts = ((lows <= simulated) & (simulated <= highs)).sum(axis=1)
    found = Extrapolation(form, left_out, tuple(predictions), 1.0, len(smaller))
    return replace(found, chance=float((counts <= found.inside).mean()))

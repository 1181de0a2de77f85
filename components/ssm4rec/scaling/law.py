"""Fit a law to the runs of a scaling study: ``fit``, and the ``Law`` that it returns.

>>> sizes = [(width, depth, data) for width in (16, 32, 64) for depth in (1, 2) for data in (1000, 4000, 16000, 64000)]
>>> runs = [Run(12 * d * w * w, w, d, n, 5 + 300 / (12 * d * w * w) ** 0.6 + 200 / n**0.5) for w, d, n in sizes]
>>> law = fit(runs, PARAMETERS, resamples=10)
>>> [round(one.value, 2) for one in (law.floor, *law.exponents)]
[5.0, 0.6, 0.5]

Shapes: n runs, m runs to predict, p numbers of the law, R resamples, S simulated studies.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.scaling.forms import PARAMETERS, Form
from ssm4rec.scaling.lack_of_fit import LackOfFit, lack_of_fit
from ssm4rec.scaling.point import LEAST_EXPONENT, Problem, fitted_problem, inflation
from ssm4rec.scaling.profile import Profile, Span
from ssm4rec.scaling.resampling import bootstrap_laws
from ssm4rec.scaling.runs import Floats, Run, cells, check_runs, columns, log_losses

__all__ = ["LEVEL", "PARAMETERS", "Law", "LawNumber", "Run", "fit"]

LEVEL: Final = 0.9
"""Of every interval of this room, also inside an ``Estimate``."""
MISFIT: Final = "the form does not fit"
_NOISES: Final = 20
"""Simulated studies per resample."""


@dataclass(frozen=True)
class LawNumber:
    """The floor, a coefficient or an exponent, with its 90% interval.

    ``problem``: why the runs do not identify it, as "its interval reaches zero"; empty: they do.
    """

    name: str
    estimate: Estimate
    problem: str = ""

    @property
    def value(self) -> float:
        """The best fit's; of a number that is not identified one among many."""
        return self.estimate.value


@dataclass(frozen=True, eq=False)
class Law:
    """A form of law fitted to runs.

    ``numbers``: floor, coefficients, exponents, as ``form.names``. ``draws``: the same numbers of the resampled
    studies, (R, p). ``noise``: the standard deviation of a run around the law, as a share of its loss. ``seed_noise``:
    that between the runs of one cell; ``misfit``: whether the first is too far above the second for the form to fit;
    both None: no cell has two. ``runs``: how many were fitted.
    """

    form: Form
    numbers: tuple[LawNumber, ...]
    draws: Floats
    noise: float
    seed_noise: float | None
    misfit: LackOfFit | None
    runs: int

    @property
    def floor(self) -> LawNumber:
        """The loss that no size and no amount of data goes below."""
        return self.numbers[0]

    @property
    def exponents(self) -> tuple[LawNumber, ...]:
        """One for each column of the form."""
        return self.numbers[1 + len(self.form.columns) :]

    @property
    def identified(self) -> bool:
        """Whether the runs say what the floor and every exponent are: without that, they show no law of this form."""
        return not any(number.problem for number in (self.floor, *self.exponents))

    @property
    def values(self) -> Floats:
        """The best fit's numbers, (p,), for ``form.loss``."""
        return numpy.array([number.value for number in self.numbers])

    def predict(self, runs: Sequence[Run]) -> list[Estimate]:
        """Return the loss of one more run at the size and data of each given one, with its 90% prediction interval.

        What the given runs' losses are does not matter.
        """
        lows, highs = self.intervals(self.simulated(runs))
        found = zip(self.form.loss(self.values, columns(runs, self.form.columns)), lows, highs, strict=True)
        return [Estimate(float(value), float(low), float(high), self.runs) for value, low, high in found]

    def simulated(self, runs: Sequence[Run]) -> Floats:
        """Return losses (S, m) that such runs may have together: the law of a resample, and noise of each run.

        The noise is Student's t with n - p degrees of freedom, as its size was estimated from residuals.
        """
        laws = self.form.loss(self.draws, columns(runs, self.form.columns)).repeat(_NOISES, axis=0)
        noise = numpy.random.default_rng(0).standard_t(self.runs - self.form.size, laws.shape)
        losses: Floats = laws * numpy.exp(self.noise * noise)
        return losses

    @staticmethod
    def intervals(losses: Floats) -> Floats:
        """Return the lower and the upper bounds, (2, m), of the interval of each column of simulated losses."""
        bounds: Floats = numpy.quantile(losses, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
        return bounds

    def verdict(self) -> str:
        """Return in a sentence whether the runs show a law of this form, and if not, what they leave open."""
        if self.identified:
            return f"a law in {self.form.name} is identified"
        by_problem: dict[str, list[str]] = {}
        for one in (self.floor, *self.exponents):
            by_problem.setdefault(one.problem, []).append(one.name)
        why = {MISFIT: f", as {self.misfit.text()}"} if self.misfit else {}
        told = [f"{', '.join(names)}: {one}{why.get(one, '')}" for one, names in by_problem.items() if one]
        return f"a law in {self.form.name} is not identified ({'; '.join(told)})"


def fit(runs: Sequence[Run], form: Form, resamples: int = 200, seed: int = 0) -> Law:
    """Fit a form of law to runs of one model family on one data set.

    Raises:
        InputError: too few runs or sizes for the form's numbers (``check_runs``).
    """
    check_runs(runs, form.columns, form.size)
    problem, law = fitted_problem(Problem(form, columns(runs, form.columns), log_losses(runs)))
    places = list(cells(runs).values())
    draws = problem.numbers(bootstrap_laws(problem, law, places, resamples, numpy.random.default_rng(seed)))
    noise = float(problem.residuals(law).std() * inflation(problem))
    numbers, misfit = _numbers(problem, law, draws), lack_of_fit(problem, law, places)
    if misfit and misfit.significant:
        numbers = tuple(_not_of(form, one) for one in numbers)
    return Law(form, numbers, draws, noise, _seed_noise(problem.losses, places), misfit, len(runs))


def _not_of(form: Form, number: LawNumber) -> LawNumber:
    """Return a number of a form that does not fit: what it is at the runs, not what the floor or exponent is."""
    coefficient = number.name in form.names[1 : 1 + len(form.columns)]
    return number if coefficient or number.problem else replace(number, problem=MISFIT)


def _seed_noise(losses: Floats, places: Sequence[Sequence[int]]) -> float | None:
    """Return the standard deviation within cells, pooled over all of several runs."""
    several = [losses[cell] for cell in places if len(cell) > 1]
    freedom = sum(len(cell) - 1 for cell in several)
    squares = sum(float(((cell - cell.mean()) ** 2).sum()) for cell in several)
    return (squares / freedom) ** 0.5 if freedom else None


def _numbers(problem: Problem, law: Floats, draws: Floats) -> tuple[LawNumber, ...]:
    """Return the best law's numbers with intervals: by profile of the floor and exponents, the others' percentiles."""
    form, runs = problem.form, len(problem.losses)
    lows, highs = numpy.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    found = []
    for place, (name, value) in enumerate(zip(form.names, problem.numbers(law), strict=True)):
        if 1 <= place <= len(form.columns):
            found.append(LawNumber(name, Estimate(float(value), float(lows[place]), float(highs[place]), runs)))
            continue
        span = Profile(problem, law, place).span(LEVEL)
        found.append(LawNumber(name, Estimate(float(value), span.low, span.high, runs), _open_ends(span)))
    exponents = found[1 + len(form.columns) :]
    constant = [one.name for one in exponents if one.estimate.low <= LEAST_EXPONENT]
    if constant and not found[0].problem:
        found[0] = replace(found[0], problem=f"with an {constant[0]} near zero the term is a part of the floor")
    return tuple(found)


def _open_ends(span: Span) -> str:
    if span.open_below and span.open_above:
        return "any value fits"
    if span.open_below:
        return "its interval reaches zero"
    return f"its interval reaches the largest that is searched, {span.high:.4g}" if span.open_above else ""

"""Fit a law to the runs of a scaling study: ``fit``, and the ``Law`` that it returns.

>>> sizes = [(width, depth, data) for width in (16, 32, 64) for depth in (1, 2) for data in (1000, 4000, 16000, 64000)]
>>> runs = [Run(12 * d * w * w, w, d, n, 5 + 300 / (12 * d * w * w) ** 0.6 + 200 / n**0.5) for w, d, n in sizes]
>>> law = fit(runs, PARAMETERS, resamples=10)
>>> [round(one.value, 2) for one in (law.floor, *law.exponents)]
[5.0, 0.6, 0.5]

Shapes: n runs, m places to predict, p numbers of the law, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.scaling.forms import PARAMETERS, Form
from ssm4rec.scaling.point import Problem, best_law
from ssm4rec.scaling.resampling import bootstrap_laws, inflation
from ssm4rec.scaling.runs import Floats, Run, cells, check_runs, columns, log_losses

__all__ = ["LEVEL", "PARAMETERS", "Law", "LawNumber", "Run", "fit"]

LEVEL: Final = 0.9
"""Of every interval of this room, also inside an ``Estimate``."""


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
    studies, (R, p). ``noise``: the standard deviation of a run around the law, as a share of its loss. ``runs``: how
    many were fitted.
    """

    form: Form
    numbers: tuple[LawNumber, ...]
    draws: Floats
    noise: float
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

        What the given runs' losses are does not matter. The interval has both in it: how the law varies between
        resamples, and the noise of a single run.
        """
        logs = columns(runs, self.form.columns)
        rng = numpy.random.default_rng(0)
        drawn = self.form.loss(self.draws, logs)
        drawn = drawn * numpy.exp(self.noise * rng.standard_normal(drawn.shape))
        lows, highs = numpy.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
        found = zip(self.form.loss(self.values, logs), lows, highs, strict=True)
        return [Estimate(float(value), float(low), float(high), self.runs) for value, low, high in found]

    def verdict(self) -> str:
        """Return in a sentence whether the runs show a law of this form, and if not, what they leave open."""
        if self.identified:
            return f"a law in {self.form.name} is identified"
        open_ones = "; ".join(f"{one.name}: {one.problem}" for one in (self.floor, *self.exponents) if one.problem)
        return f"a law in {self.form.name} is not identified ({open_ones})"


def fit(runs: Sequence[Run], form: Form, resamples: int = 200, seed: int = 0) -> Law:
    """Fit a form of law to runs of one model family on one data set.

    Raises:
        InputError: too few runs or sizes for the form's numbers (``check_runs``).
    """
    check_runs(runs, form.columns, form.size)
    problem = Problem(form, columns(runs, form.columns), log_losses(runs))
    law = best_law(problem)
    laws = bootstrap_laws(problem, law, list(cells(runs).values()), resamples, numpy.random.default_rng(seed))
    draws = problem.numbers(laws)
    lows, highs = numpy.quantile(draws, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    found = zip(form.names, problem.numbers(law), lows, highs, strict=True)
    numbers = tuple(
        LawNumber(
            name, Estimate(float(value), min(float(low), float(value)), max(float(high), float(value)), len(runs))
        )
        for name, value, low, high in found
    )
    noise = float(problem.residuals(law).std() * inflation(problem))
    return Law(form, numbers, draws, noise, len(runs))

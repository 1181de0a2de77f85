"""The law that fits runs best: starts by variable projection, then L-BFGS on the Huber loss of log residuals.

The objective is that of Hoffmann et al. (2022, appendix D.3): sum_i Huber_delta(log L(x_i) - log L_i), with the law's
logarithm as log-sum-exp of log E and the logarithms of its terms, so that E and the coefficients stay positive and
terms of any size are added without loss. A sum, not a mean, and a tight tolerance: with a mean of numbers of the size
of delta^2, L-BFGS stops at once (Besiroglu et al. 2024, "Chinchilla scaling: a replication attempt").

For given exponents the law is linear in E and the coefficients (variable projection, Golub and Pereyra 1973): a grid of
exponents with a non-negative least squares each, on relative residuals, finds the starts.

In here a law is a vector of logarithms: of E, of each term at the centre of the runs, then the exponents themselves.
``numbers`` of other modules are E, the coefficients and the exponents (``Form.names``).

Shapes: n runs, k terms, p = 1 + 2k numbers.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy
import scipy.optimize

from ssm4rec.scaling.forms import Form
from ssm4rec.scaling.runs import Floats

LEAST_EXPONENT: Final = 0.01
MOST_EXPONENT: Final = 3.0
"""Outside, a term is a logarithm or a step to every study that can be run: an interval that ends here has no end."""
LEAST_FLOOR: Final = 1e-4
"""Of the lowest loss: the floor that stands for none."""
DELTA: Final = 1e-3
"""Hoffmann et al.'s, the least: residuals of more than 0.1% count linearly (``fitted_problem``)."""
EFFICIENT: Final = 1.345
"""Standard deviations of noise at which the Huber loss turns linear, to waste 5% of it (Holland and Welsch 1977)."""
_LEAST_TERM: Final = 1e-7
_GRID: Final = (0.05, 0.15, 0.3, 0.5, 0.8, 1.3, 2.2)
_STARTS: Final = 4


@dataclass(frozen=True, eq=False)
class Problem:
    """Runs as numbers: logarithms of the columns (n, k), of the losses (n,), and where the Huber loss turns linear."""

    form: Form
    logs: Floats
    losses: Floats
    delta: float = DELTA

    @property
    def centre(self) -> Floats:
        """The middle of the runs, to which the coefficients' logarithms refer: they depend less on exponents there."""
        middle: Floats = (self.logs.min(axis=0) + self.logs.max(axis=0)) / 2
        return middle

    @property
    def bounds(self) -> Floats:
        """Least and most of each number of a law, (p, 2)."""
        terms, least, most = self.logs.shape[1], self.losses.min(), self.losses.max()
        floor = (least + numpy.log(LEAST_FLOOR), most + 1)
        term = (least + numpy.log(_LEAST_TERM), most + 3)
        return numpy.array([floor, *[term] * terms, *[(LEAST_EXPONENT, MOST_EXPONENT)] * terms])

    def numbers(self, law: Floats) -> Floats:
        """Return E, coefficients and exponents of laws (..., p)."""
        terms = self.logs.shape[1]
        exponents = law[..., 1 + terms :]
        coefficients = law[..., 1 : 1 + terms] + exponents * self.centre
        return numpy.concatenate([numpy.exp(law[..., :1]), numpy.exp(coefficients), exponents], axis=-1)

    def moved(self, law: Floats, other: "Problem") -> Floats:
        """Return a law (p,) of these runs as it is written for other runs, whose centre is elsewhere."""
        terms = self.logs.shape[1]
        there = law.copy()
        there[1 : 1 + terms] -= law[1 + terms :] * (other.centre - self.centre)
        return there

    def parts(self, law: Floats) -> tuple[Floats, Floats]:
        """Return the law's log losses (n,) and the share of the floor and of each term in them (n, 1 + k)."""
        terms = self.logs.shape[1]
        logs = numpy.empty((len(self.losses), 1 + terms))
        logs[:, 0] = law[0]
        logs[:, 1:] = law[1 : 1 + terms] - law[1 + terms :] * (self.logs - self.centre)
        highest = logs.max(axis=1, keepdims=True)
        parts = numpy.exp(logs - highest)
        total = parts.sum(axis=1, keepdims=True)
        return (highest + numpy.log(total))[:, 0], parts / total

    def residuals(self, law: Floats) -> Floats:
        """Return log measured less log predicted, (n,)."""
        return self.losses - self.parts(law)[0]

    def objective(self, law: Floats) -> tuple[float, Floats]:
        """Return the sum of Huber losses over delta^2 and its gradient (p,).

        Over delta^2: one run that is off by delta adds 1/2, so that the optimizer's tolerances mean the same for any
        delta.
        """
        predicted, shares = self.parts(law)
        off = (predicted - self.losses) / self.delta
        slope = numpy.clip(off, -1, 1)
        value = float((slope * (off - slope / 2)).sum())
        return value, slope @ self.jacobian(shares) / self.delta

    def jacobian(self, shares: Floats) -> Floats:
        """Return the derivatives (n, p) of the log losses, from ``parts``' shares."""
        return numpy.column_stack([shares, -shares[:, 1:] * (self.logs - self.centre)])


def fitted_problem(problem: Problem) -> tuple[Problem, Floats]:
    """Return the problem with ``delta`` at the runs' noise, if that is more, and its best law (p,).

    Where delta is far below the noise, the Huber loss is the absolute one and wastes a third of what the runs say. At
    ``EFFICIENT`` standard deviations it wastes 5% of it; these are 1.4826 median absolute deviations.
    """
    residuals = problem.residuals(best_law(problem))
    deviation = 1.4826 * float(numpy.median(abs(residuals))) * inflation(problem)
    problem = replace(problem, delta=max(problem.delta, EFFICIENT * deviation))
    return problem, best_law(problem)


def inflation(problem: Problem) -> float:
    """Return sqrt(n / (n - p)): residuals are smaller than the noise, as the law follows it."""
    runs = len(problem.losses)
    return float(numpy.sqrt(runs / (runs - problem.form.size)))


def best_law(problem: Problem) -> Floats:
    """Return the law (p,) of the least objective, over several starts."""
    return min((refine(problem, start) for start in starts(problem)), key=lambda law: problem.objective(law)[0])


def starts(problem: Problem) -> list[Floats]:
    """Return the laws (p,) with the best exponents of a grid, best first."""
    terms, bounds = problem.logs.shape[1], problem.bounds
    weights = numpy.exp(-problem.losses)
    found = []
    for exponents in product(_GRID, repeat=terms):
        powers = numpy.exp(-numpy.array(exponents) * (problem.logs - problem.centre))
        columns = numpy.column_stack([numpy.ones(len(weights)), powers]) * weights[:, None]
        linear, error = scipy.optimize.nnls(columns, numpy.ones(len(weights)))
        with numpy.errstate(divide="ignore"):
            law = numpy.concatenate([numpy.log(linear), exponents])
        found.append((error, numpy.clip(law, *bounds.T)))
    return [law for _, law in sorted(found, key=lambda pair: pair[0])[:_STARTS]]


def refine(problem: Problem, start: Floats, fixed: dict[int, float] | None = None) -> Floats:
    """Return the law (p,) at the local minimum next to a start, with some of its numbers held."""
    bounds = problem.bounds
    for place, value in (fixed or {}).items():
        bounds[place] = value
    start = numpy.clip(start, *bounds.T)
    # Each number in units in which it changes the fit by as much as the others: L-BFGS needs a fifth of the steps.
    jacobian = problem.jacobian(problem.parts(start)[1])
    units = 1 / numpy.maximum(numpy.linalg.norm(jacobian, axis=0), 1e-3)

    def scaled(point: Floats) -> tuple[float, Floats]:
        value, gradient = problem.objective(point * units)
        return value, gradient * units

    found = scipy.optimize.minimize(
        scaled, start / units, jac=True, method="L-BFGS-B", bounds=bounds / units[:, None],
        options={"maxiter": 2000, "maxfun": 4000, "ftol": 1e-12, "gtol": 1e-6, "maxcor": 20},
    )  # fmt: skip
    law: Floats = numpy.clip(found.x * units, *bounds.T)
    return law

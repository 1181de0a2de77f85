"""Studies as they might have come out: the runs drawn again around the fitted law, and a law fitted to each.

A cell of several runs has them drawn with replacement from its own: their deviations from the cell's mean, times
sqrt(k / (k - 1)) so that k runs vary as much as their cell does (Davison and Hinkley 1997, 2.3 and 3.8). A cell of one
run has none to draw from; it gets a residual of any run of the study, times sqrt(n / (n - p)) for the p numbers that
the law spent on them (residual bootstrap, Efron and Tibshirani 1993, 9.4). Residuals are of logarithms: noise is taken
to be a share of the loss.

Shapes: n runs, p numbers of the law, R resamples.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy

from ssm4rec.scaling.point import Problem, inflation, refine
from ssm4rec.scaling.runs import Floats


def bootstrap_laws(
    problem: Problem, law: Floats, cells: Sequence[Sequence[int]], resamples: int, rng: numpy.random.Generator
) -> Floats:
    """Return the laws (R, p) of resampled studies, each sought from the law of the study itself.

    ``cells`` are the places of each cell's runs.
    """
    fitted, residuals = problem.parts(law)[0], problem.residuals(law)
    pool = (residuals - residuals.mean()) * inflation(problem)
    laws = numpy.empty((resamples, len(law)))
    for drawn in laws:
        noise = rng.choice(pool, len(pool))
        for places in cells:
            if (count := len(places)) > 1:
                own = residuals[places] - residuals[places].mean()
                noise[places] = rng.choice(own, count) * numpy.sqrt(count / (count - 1))
        drawn[:] = refine(replace(problem, losses=fitted + noise), law)
    return laws

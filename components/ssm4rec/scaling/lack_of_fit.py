"""Whether a form of law fits at all: how far cells lie from it, against how far seeds lie from each other.

The F test of lack of fit (Fisher 1922; Draper and Smith 1998, "Applied regression analysis", 2.1): seeds of one cell
differ by pure error, which no law explains. With r_ci the log residuals of cell c, m_c the mean of its k_c,

    F = sum_c k_c m_c^2 / (c - p)  /  (sum_ci (r_ci - m_c)^2 / (n - c))

is distributed as F(c - p, n - c) if the form is right and noise is equal in all cells. The interval of a floor is that
of the form's floor: where the form is wrong in shape, residuals are alike in neighbouring cells, and the true floor may
lie outside by any amount (2Mamba4Rec's runs on events of a known floor: tests/benchmarks/LOG.md, 2026-11-29 (7)).

One training that went wrong is no lack of fit: residuals count up to 3 robust standard deviations, as in the fit.

Shapes: n runs in c cells, p numbers of the law.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy
import scipy.stats

from ssm4rec.artifacts.estimate import SIGNIFICANCE, p_text
from ssm4rec.scaling.point import EFFICIENT, Problem
from ssm4rec.scaling.runs import Floats

_MOST: Final = 3.0
_EXACT: Final = 1e-6
"""Of the loss, the least noise between seeds: a loss is not known better."""


@dataclass(frozen=True)
class LackOfFit:
    """The test's F and p; ``cells``: those of several seeds, from which the pure error is."""

    ratio: float
    p_value: float
    cells: int

    @property
    def significant(self) -> bool:
        """Whether the form does not fit, at the house's 5%."""
        return self.p_value < SIGNIFICANCE

    def text(self) -> str:
        """Return how far the cells are from the law.

        >>> LackOfFit(5.1, 0.0109, 4).text()
        'cells lie 2.3 times as far from it as seeds from each other, p 0.011'
        """
        times = f"{self.ratio**0.5:.1f} times as far from it as seeds from each other"
        return f"cells lie {times}, p {p_text(self.p_value)}"


def lack_of_fit(problem: Problem, law: Floats, cells: Sequence[Sequence[int]]) -> LackOfFit | None:
    """Test a fitted law (p,); ``cells`` are the places of each cell's runs. None: no cell has several."""
    runs, several = len(problem.losses), sum(len(places) > 1 for places in cells)
    if not several:
        return None
    reach = _MOST * problem.delta / EFFICIENT
    residuals = numpy.clip(problem.residuals(law), -reach, reach)
    explained = sum(len(places) * float(residuals[places].mean()) ** 2 for places in cells)
    pure = max(float((residuals**2).sum()) - explained, 0.0) / (runs - len(cells))
    freedom = len(cells) - problem.form.size
    ratio = explained / freedom / max(pure, _EXACT**2)
    return LackOfFit(ratio, float(scipy.stats.f.sf(ratio, freedom, runs - len(cells))), several)

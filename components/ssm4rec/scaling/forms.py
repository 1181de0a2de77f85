"""The forms of law: a floor and one falling power for each thing that the loss depends on.

    L = E + sum_j A_j x_j^-a_j,   E, A_j >= 0,   a_j > 0

``PARAMETERS`` is approach 3 of Hoffmann et al. (2022, "Training compute-optimal large language models", equation 2);
``DATA`` is one of its terms alone, as for runs of one size. ``WIDTH_DEPTH`` splits the term in parameters into one in
width and one in depth: two shapes of equal size may then differ in loss.
"""

from dataclasses import dataclass
from typing import Final

import numpy

from ssm4rec.scaling.runs import Floats


@dataclass(frozen=True)
class Form:
    """A form of law: its name for readers and the columns of the runs that it depends on, one falling power each."""

    name: str
    columns: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many numbers the law has: the floor, and a coefficient and an exponent for each column."""
        return 1 + 2 * len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """What its numbers are called, in their order in a vector: floor, coefficients, exponents.

        >>> DATA.names
        ('floor', 'coefficient of data', 'exponent of data')
        """
        coefficients = tuple(f"coefficient of {name}" for name in self.columns)
        return ("floor", *coefficients, *(f"exponent of {name}" for name in self.columns))

    def loss(self, numbers: Floats, logs: Floats) -> Floats:
        """Return the losses, (..., n), of laws ``numbers`` (..., size) at the logarithms ``logs`` (n, columns).

        >>> DATA.loss(numpy.array([2.0, 30.0, 0.5]), numpy.log([[100.0]])).round(6)  # 2 + 30 / sqrt(100)
        array([5.])
        """
        terms = len(self.columns)
        floor, coefficients, exponents = numpy.split(numbers, [1, 1 + terms], axis=-1)
        powers = numpy.exp(-exponents[..., None, :] * logs)
        losses: Floats = floor + (coefficients[..., None, :] * powers).sum(axis=-1)
        return losses


PARAMETERS: Final = Form("parameters and data", ("parameters", "data"))
WIDTH_DEPTH: Final = Form("width, depth and data", ("width", "depth", "data"))
DATA: Final = Form("data alone", ("data",))
FORMS: Final = (PARAMETERS, WIDTH_DEPTH, DATA)

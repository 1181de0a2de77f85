"""The runs of a scaling study: one model family on one data set, in several sizes and with several amounts of data.

Shapes: n runs.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy
from numpy.typing import NDArray

from ssm4rec.runtime.errors import InputError

Floats = NDArray[numpy.float64]
Cell = tuple[int, int, int]
"""Width, depth and data of the runs that differ by their seed alone."""
COLUMNS: Final = ("parameters", "width", "depth", "data")
"""What a form of law may depend on: fields of ``Run``."""


@dataclass(frozen=True)
class Run:
    """One trained and tested model.

    ``parameters``: trained numbers without the embeddings of items and positions; 1 or more.
    ``width``, ``depth``: the model's d_model and number of layers.
    ``data``: training interactions, each counted once, however often it was seen.
    ``loss``: what is to be predicted: the negative log-likelihood of a test target in nats, mean over the test users;
    or any other positive number of which less is better.
    ``flops``: of the whole training, counted or 6 ``parameters`` times interactions seen; 0: not known.
    ``seed``: tells the runs of one cell apart.
    """

    parameters: int
    width: int
    depth: int
    data: int
    loss: float
    flops: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in COLUMNS:
            if getattr(self, name) < 1:
                raise InputError(f"{name} of a run is {getattr(self, name)}: a scaling law needs 1 or more")
        if not (math.isfinite(self.loss) and self.loss > 0):
            raise InputError(f"loss of a run is {self.loss}: a scaling law needs a positive number; leave the run out")

    @property
    def cell(self) -> Cell:
        """What the run has in common with its repetitions by other seeds."""
        return self.width, self.depth, self.data


def columns(runs: Sequence[Run], names: Sequence[str]) -> Floats:
    """Return the natural logarithms of the named columns, (n, columns)."""
    values: Floats = numpy.array([[getattr(run, name) for name in names] for run in runs], dtype=numpy.float64)
    logs: Floats = numpy.log(values)
    return logs


def log_losses(runs: Sequence[Run]) -> Floats:
    """Return the natural logarithms of the losses, (n,)."""
    return columns(runs, ["loss"])[:, 0]


def cells(runs: Sequence[Run]) -> dict[Cell, list[int]]:
    """Return each cell's runs by their places in ``runs``.

    >>> cells([Run(10, 2, 1, 5, 3.0), Run(10, 2, 1, 9, 2.0), Run(10, 2, 1, 5, 3.1, seed=1)])
    {(2, 1, 5): [0, 2], (2, 1, 9): [1]}
    """
    found: dict[Cell, list[int]] = {}
    for place, run in enumerate(runs):
        found.setdefault(run.cell, []).append(place)
    return found


def check_runs(runs: Sequence[Run], names: Sequence[str], numbers: int) -> None:
    """Refuse runs to which a law of ``numbers`` numbers in the named columns cannot be fitted at all.

    Raises:
        InputError: a column has fewer than 3 values, or there are no more cells than numbers.
    """
    for name in names:
        if (values := len(Counter(getattr(run, name) for run in runs))) < 3:
            raise InputError(f"{values} values of {name}: a saturating law in {name} needs 3 or more; train more sizes")
    if (found := len(cells(runs))) <= numbers:
        raise InputError(f"{found} cells (width, depth, data) for the {numbers} numbers of the law: train more cells")

"""What a budget of FLOPs buys: isoFLOP curves, and where they are lowest (Hoffmann et al. 2022, approaches 2 and 3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy

from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.runtime.errors import InputError
from ssm4rec.scaling.forms import PARAMETERS
from ssm4rec.scaling.law import Law
from ssm4rec.scaling.runs import Run


@dataclass(frozen=True)
class Optimum:
    """How to spend ``flops``: so many parameters and training interactions, real numbers, for the loss expected."""

    flops: float
    parameters: float
    data: float
    loss: float


def best_split(law: Law, flops: float) -> Optimum:
    """Return the parameters and data of the least loss among those with 6 parameters data = ``flops``.

    For L = E + A N^-a + B D^-b (Hoffmann et al. 2022, equation 4), with G = (a A / (b B))^(1 / (a + b)):

        N = G (C / 6)^(b / (a + b)),   D = (C / 6)^(a / (a + b)) / G

    Raises:
        InputError: the law is of another form, or its terms are zero.
    """
    if law.form != PARAMETERS:
        raise InputError(f"this law is in {law.form.name}: a best split needs one in {PARAMETERS.name}; fit that form")
    _, of_parameters, of_data, a, b = law.values
    if min(of_parameters, of_data) <= 0:
        raise InputError(f"a law in {law.form.name} with a coefficient of zero has no best split")
    ratio = (a * of_parameters / (b * of_data)) ** (1 / (a + b))
    parameters, data = ratio * (flops / 6) ** (b / (a + b)), (flops / 6) ** (a / (a + b)) / ratio
    loss = law.form.loss(law.values, numpy.log([[parameters, data]]))
    return Optimum(flops, float(parameters), float(data), float(loss[0]))


def isoflop(law: Law, flops: float, sizes: Sequence[Run]) -> list[tuple[Run, Estimate]]:
    """Return each size with the data that ``flops`` pay for, and the loss to expect with its prediction interval.

    ``sizes``: a run of each width and depth; its ``flops / data`` is the price of an interaction (6 ``parameters``
    where FLOPs are not known, that is 0). Each comes back with that data, ``flops`` and the predicted loss. A size of
    which the budget does not pay for one interaction is left out. The lowest is the optimum, ``best_size``.
    """
    found = []
    for size in sizes:
        price = size.flops / size.data if size.flops > 0 else 6.0 * size.parameters
        if (data := int(flops / price)) >= 1:
            found.append(replace(size, data=data, flops=flops))
    if not found:
        return []
    predicted = law.predict(found)
    return [(replace(size, loss=one.value), one) for size, one in zip(found, predicted, strict=True)]


def best_size(curve: Sequence[tuple[Run, Estimate]]) -> Run:
    """Return the size of the least predicted loss on an isoFLOP curve that is not empty."""
    return min((size for size, _ in curve), key=lambda size: size.loss)

"""The floor by several forms: the span of those that predict as well, and whether they agree."""

from dataclasses import replace

import numpy
import pytest

from ssm4rec.artifacts.estimate import Difference, Estimate
from ssm4rec.scaling.floor import common_floor
from ssm4rec.scaling.forms import PARAMETERS, WIDTH_DEPTH, Form
from ssm4rec.scaling.held_out import FormError
from ssm4rec.scaling.law import Law, LawNumber

AS_GOOD, WORSE = Difference(0.001, -0.002, 0.004, 36), Difference(0.003, 0.002, 0.004, 36)


def law(form: Form, floor: float, low: float, high: float, problem: str = "") -> Law:
    numbers = [LawNumber(name, Estimate(0.5, 0.4, 0.6, 44)) for name in form.names]
    numbers[0] = LawNumber("floor", Estimate(floor, low, high, 44), problem)
    return Law(form, tuple(numbers), numpy.zeros((1, form.size)), 0.01, None, None, 44)


@pytest.mark.parametrize(
    ("second", "excess", "bounds", "problem"),
    [
        (law(WIDTH_DEPTH, 4.6, 4.4, 4.7), AS_GOOD, (4.2, 4.7), ""),
        (law(WIDTH_DEPTH, 4.6, 4.55, 4.7), AS_GOOD, (4.2, 4.7), "the forms disagree"),
        (law(WIDTH_DEPTH, 4.6, 4.55, 4.7), WORSE, (4.2, 4.5), ""),
        (law(WIDTH_DEPTH, 3.0, 0.0, 4.7, "open"), AS_GOOD, (0.0, 4.7), "by width, depth and data, open"),
        (law(WIDTH_DEPTH, 3.0, 0.0, 4.7, "open"), WORSE, (4.2, 4.5), ""),
    ],
)
def test_forms_that_predict_as_well_count(
    second: Law, excess: Difference, bounds: tuple[float, float], problem: str
) -> None:
    errors = [FormError(PARAMETERS, 0.010, None), FormError(WIDTH_DEPTH, 0.011, excess)]
    found = common_floor([law(PARAMETERS, 4.4, 4.2, 4.5), second], errors)
    assert found.number == LawNumber("floor", Estimate(4.4, *bounds, 44), problem)
    assert found.forms == ((PARAMETERS, WIDTH_DEPTH) if excess is AS_GOOD else (PARAMETERS,))


def test_one_form_alone_is_its_floor() -> None:
    alone = law(PARAMETERS, 4.4, 4.2, 4.5)
    assert common_floor([alone], [FormError(PARAMETERS, 0.01, None)]).number == replace(alone.floor, name="floor")

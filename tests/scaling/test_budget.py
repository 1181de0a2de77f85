"""Budgets: the closed form against a search, curves against the law."""

import numpy
import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.scaling.budget import best_size, best_split, isoflop
from ssm4rec.scaling.forms import DATA, PARAMETERS
from ssm4rec.scaling.law import Law, fit
from ssm4rec.scaling.runs import Run
from tests.scaling.studies import study


@pytest.fixture(scope="module")
def law() -> Law:
    return fit(study(PARAMETERS, numpy.random.default_rng(0))[0], PARAMETERS, resamples=10)


def test_best_split_is_where_a_search_finds_it(law: Law) -> None:
    flops = 1e13
    found = best_split(law, flops)
    sizes = numpy.exp(numpy.linspace(numpy.log(found.parameters / 50), numpy.log(found.parameters * 50), 20001))
    losses = PARAMETERS.loss(law.values, numpy.log(numpy.column_stack([sizes, flops / 6 / sizes])))
    assert sizes[losses.argmin()] == pytest.approx(found.parameters, rel=1e-3)
    assert losses.min() == pytest.approx(found.loss)
    assert 6 * found.parameters * found.data == pytest.approx(flops)


def test_a_curve_is_lowest_at_the_size_next_to_the_best_split(law: Law) -> None:
    flops = 1e13
    best = best_split(law, flops)
    sizes = [Run(int(best.parameters * 2.0**power), 64, 2, 1000, 1.0) for power in range(-4, 5)]
    curve = isoflop(law, flops, sizes)
    assert best_size(curve).parameters == int(best.parameters)
    assert all(run.loss == one.value and one.low < one.value < one.high for run, one in curve)
    assert all(6 * run.parameters * run.data == pytest.approx(flops, rel=1e-2) for run, _ in curve)


def test_counted_flops_are_the_price_of_an_interaction(law: Law) -> None:
    """Twice 6ND, as with three epochs or wide embeddings: half the data."""
    size = Run(1000, 16, 1, 500, 4.0, flops=2 * 6.0 * 1000 * 500)
    [(bought, _)] = isoflop(law, 1.2e9, [size])
    assert (bought.data, bought.flops) == (100_000, 1.2e9)
    assert isoflop(law, 100.0, [size]) == []


def test_a_law_of_another_form_has_no_split() -> None:
    law = fit(study(DATA, numpy.random.default_rng(1))[0], DATA, resamples=2)
    with pytest.raises(InputError, match="this law is in data alone"):
        best_split(law, 1e12)

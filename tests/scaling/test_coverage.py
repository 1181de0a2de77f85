"""Whether intervals hold what they promise, on generated studies: few of them here, 50 of each form by ``-m slow``."""

import numpy
import pytest

from ssm4rec.scaling.forms import DATA, FORMS, PARAMETERS, WIDTH_DEPTH, Form
from ssm4rec.scaling.held_out import predict_largest
from ssm4rec.scaling.law import fit
from tests.scaling.studies import OTHER_FORMS, grid, study, study_of_another_form, study_without_law


def covered(form: Form, studies: int, seed: int, **of_grid) -> tuple[numpy.ndarray, float]:
    """Return the share of studies whose true floor and exponents are in their intervals, and of identified ones."""
    rng = numpy.random.default_rng(seed)
    inside, identified = [], []
    for _ in range(studies):
        runs, numbers = study(form, rng, grid(**of_grid))
        law = fit(runs, form, resamples=2)
        true = (numbers[0], *numbers[1 + len(form.columns) :])
        found = [one.estimate for one in (law.floor, *law.exponents)]
        inside.append([one.low <= value <= one.high for one, value in zip(found, true, strict=True)])
        identified.append(law.identified)
    return numpy.mean(inside, axis=0), float(numpy.mean(identified))


@pytest.mark.parametrize("form", [PARAMETERS, DATA], ids=lambda form: form.name)
def test_truth_is_inside(form: Form) -> None:
    inside, identified = covered(form, 10, 0)
    assert identified >= 0.8  # of 10 that the test of lack of fit refuses at 5%
    assert inside.mean() >= 0.75


@pytest.mark.parametrize("noise", [0.003, 0.05])
@pytest.mark.parametrize("form", [PARAMETERS, DATA], ids=lambda form: form.name)
def test_no_law_is_called_not_identified(form: Form, noise: float) -> None:
    rng = numpy.random.default_rng(1)
    assert not any(fit(study_without_law(noise, rng), form, resamples=2).identified for _ in range(3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "of_grid"), [*((form, {}) for form in FORMS), (PARAMETERS, {"depths": (1, 2), "octaves": 4})]
)
def test_truth_is_inside_in_50_studies(form: Form, of_grid: dict) -> None:
    inside, identified = covered(form, 50, 2024, **of_grid)
    print(f"\n{form.name} {of_grid}: covered {inside}, identified {identified}")
    assert inside.mean() >= 0.85
    assert (inside >= 0.78).all()  # of 50 at a true 90%, one number falls below in 0.4% of all cases
    assert identified >= 0.7


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_no_law_in_50_studies(form: Form) -> None:
    rng = numpy.random.default_rng(2025)
    noises = rng.uniform(0.001, 0.05, 50)
    identified = [fit(study_without_law(noise, rng), form, resamples=2).identified for noise in noises]
    print(f"\n{form.name}: identified {sum(identified)} of 50 without a law")
    assert sum(identified) == 0


@pytest.mark.slow
@pytest.mark.parametrize("form", [PARAMETERS, WIDTH_DEPTH], ids=lambda form: form.name)
def test_largest_runs_are_predicted_in_50_studies(form: Form) -> None:
    rng = numpy.random.default_rng(2026)
    found = [predict_largest(study(form, rng)[0], form, resamples=100) for _ in range(50)]
    rate = sum(one.inside for one in found) / sum(len(one.runs) for one in found)
    print(f"\n{form.name}: {rate:.3f} of the largest runs inside, error {numpy.mean([one.error for one in found]):.4f}")
    assert 0.85 <= rate <= 0.95


@pytest.mark.slow
@pytest.mark.parametrize("kind", OTHER_FORMS)
def test_floors_of_wrong_forms_are_not_identified_in_20_studies(kind: str) -> None:
    rng = numpy.random.default_rng(2027)
    called, wrong = 0, 0
    for _ in range(20):
        runs, floor = study_of_another_form(kind, rng.uniform(0.001, 0.005), rng)
        law = fit(runs, PARAMETERS, resamples=2)
        estimate = law.floor.estimate
        called += law.identified
        wrong += law.identified and not estimate.low <= floor <= estimate.high
    print(f"\n{kind}: identified {called} of 20, of which {wrong} do not hold the floor")
    assert wrong <= 2  # 90% intervals

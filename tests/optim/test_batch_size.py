"""Batch controllers on laws that are known, and the law of beta on a model whose noise is known."""

import itertools
import json
import math

import numpy
import pytest
import torch

from ssm4rec.optim.batch_size import BatchController, BregmanMeter, StepFacts, controller

UNIT = 50
"""Targets of a micro-batch."""


def make(name: str, micro_batches: int = 1, alpha: float = 0.01, shrink: float = 2.0) -> BatchController:
    return controller(name, micro_batches, alpha=alpha, shrink=shrink)  # type: ignore[arg-type]


def epoch(control: BatchController, length: int, law: "object") -> list[int]:
    """An epoch of so many micro-batches in which beta of a step of B targets is law(B); return the steps' sizes."""
    taken, left, before = [], length, None
    while left:
        micro_batches = min(control.micro_batches, left)
        left -= micro_batches
        beta = None if before is None else law(before)  # type: ignore[operator]
        before = UNIT * micro_batches
        control.observe(StepFacts(before, UNIT, bregman=beta))
        taken.append(micro_batches)
    control.end_epoch()
    return taken


def test_beta_follows_one_over_b() -> None:
    """On a quadratic of matrix A, with steps d = -g / H, E[beta] is linear in 1 / B, exactly.

    The first batch's noise e gives -<e, d> = |e|² / H, and by the step that it made <e, A e> / H².
    """
    draw = torch.Generator().manual_seed(0)
    size, sigma, curvature = 40, 3.0, 5.0
    matrix = torch.diag(torch.linspace(0.2, 2.0, size, dtype=torch.float64))
    start = torch.ones(size, dtype=torch.float64)
    sizes, means = [1, 2, 3, 4, 6, 8, 12, 16], []
    for batch in sizes:
        betas = []
        for _ in range(3000):
            x = start.clone()
            meter = BregmanMeter([x])
            for _ in range(2):
                noise = torch.randn(size, generator=draw, dtype=torch.float64) * sigma / math.sqrt(batch)
                x.grad = matrix @ x + noise
                beta = meter.measure()
                x -= x.grad / curvature
            betas.append(beta)
        means.append(numpy.mean(betas))
    x = 1 / numpy.array(sizes)
    slope, intercept = numpy.polyfit(x, means, 1)
    assert numpy.corrcoef(x, means)[0, 1] ** 2 >= 0.99
    gradient = matrix @ start
    assert slope == pytest.approx(
        sigma**2 * size / curvature + sigma**2 * float(matrix.trace()) / curvature**2, rel=0.03
    )
    assert intercept == pytest.approx(float(gradient @ matrix @ gradient) / curvature**2, rel=0.3)
    # What the paper fits instead: worse, and with a curvature below zero.
    assert numpy.corrcoef(x**0.5, means)[0, 1] ** 2 < numpy.corrcoef(x, means)[0, 1] ** 2
    assert numpy.polyfit(x**0.5, means, 1)[1] < 0


@pytest.mark.parametrize(("name", "power", "crossing"), [("paper", 0.5, 640.0), ("inverse", 1.0, 640.0)])
def test_stops_where_the_noise_falls_under_the_curvature(name: str, power: float, crossing: float) -> None:
    control = make(name)
    taken = epoch(control, 1000, lambda targets: 0.7 + 0.7 * crossing**power * targets**-power)
    assert taken[:3] == [1, 2, 3]
    settled = math.ceil(crossing / UNIT)
    assert taken[settled + 1 : -1] == [settled] * len(taken[settled + 1 : -1])
    assert control.curvature_term == pytest.approx(0.7, rel=1e-6)
    assert control.noise_term == pytest.approx(0.7 * crossing**power, rel=1e-6)
    assert control.micro_batches == round(settled / 2)
    again = epoch(control, 1000, lambda targets: 0.7 + 0.7 * crossing**power * targets**-power)
    assert again[0] == round(settled / 2)
    assert again[-2] == settled


@pytest.mark.parametrize("shrink", [1.5, 2.0, 4.0])
def test_the_papers_regressor_saws_on_real_noise(shrink: float) -> None:
    """Where beta = c2 / B, c1 is fitted below zero and nothing stops m.

    Each epoch of N ends at sqrt(2 N / (1 - 1 / lambda²)): growing by one a step from m / lambda to m takes N
    micro-batches.
    """
    control, length = make("paper", shrink=shrink), 5000
    for _ in range(8):
        taken = epoch(control, length, lambda targets: 3.0 / targets)
    assert control.curvature_term is not None
    assert control.curvature_term < 0
    assert max(taken) == pytest.approx(math.sqrt(2 * length / (1 - shrink**-2)), rel=0.03)
    assert taken[0] == pytest.approx(max(taken) / shrink, rel=0.05)


def test_the_right_regressor_stops_on_the_same_noise() -> None:
    control = make("inverse")
    for _ in range(8):
        taken = epoch(control, 5000, lambda targets: 0.01 + 3.0 / targets)
    assert taken[-2] == math.ceil(3.0 / 0.01 / UNIT)


def test_a_fit_that_does_not_exist_changes_no_decision() -> None:
    control = make("inverse", alpha=0.5)
    epoch(control, 500, lambda targets: 1.0 + 100.0 / targets)
    frozen = control.micro_batches
    # Frozen for so long that batches of other sizes weigh nothing: all B are equal.
    control.growing = False
    for _ in range(200):
        control.observe(StepFacts(UNIT * frozen, UNIT, bregman=1.0))
    assert control.micro_batches == frozen
    fresh = make("paper", micro_batches=3)
    fresh.observe(StepFacts(3 * UNIT, UNIT))  # no beta before there are two steps
    assert fresh.micro_batches == 4
    assert fresh.curvature_term is None


def test_noise_scale_finds_the_ratio_of_noise_to_gradient() -> None:
    control = make("noise-scale", alpha=0.05)
    assert control.micro_batches == 2
    random = numpy.random.default_rng(0)
    size, noise = 1000, 2.0
    gradient = random.normal(size=size) / math.sqrt(size)  # |G|² is about 1
    signal = float(gradient @ gradient)
    sizes = []
    for _ in range(600):
        m = control.micro_batches
        errors = random.normal(size=(m, size)) * noise / math.sqrt(UNIT)
        first, mean = gradient + errors[0], gradient + errors.mean(0)
        control.observe(
            StepFacts(m * UNIT, UNIT, squared_gradient=float(mean @ mean), squared_first=float(first @ first))
        )
        sizes.append(m)
    expected = noise**2 * size / signal / UNIT
    assert numpy.mean(sizes[300:]) == pytest.approx(expected, rel=0.15)
    assert control.noise_term == pytest.approx(noise**2 * size, rel=0.2)
    assert max(after / before for before, after in itertools.pairwise(sizes)) <= 2


def test_noise_scale_holds_where_it_knows_nothing() -> None:
    control = make("noise-scale", micro_batches=4)
    control.observe(StepFacts(UNIT, UNIT, squared_gradient=1.0, squared_first=1.0))  # an epoch's last, alone
    control.observe(StepFacts(4 * UNIT, UNIT, squared_gradient=2.0, squared_first=1.0))  # noise below zero
    assert control.micro_batches == 4


def test_fixed_stays() -> None:
    control = make("fixed", micro_batches=3)
    assert epoch(control, 10, lambda _: 1.0) == [3, 3, 3, 1]
    assert control.micro_batches == 3


@pytest.mark.parametrize("name", ["fixed", "paper", "inverse", "noise-scale"])
def test_resumes_where_it_was(name: str) -> None:
    random = numpy.random.default_rng(1)

    def facts() -> StepFacts:
        small = random.uniform(2, 3)
        return StepFacts(int(random.integers(2, 9)) * UNIT, UNIT, random.uniform(0, 2), random.uniform(1, 2), small)

    whole = make(name)
    for _ in range(20):
        whole.observe(facts())
    resumed = make(name)
    resumed.load_state_dict(json.loads(json.dumps(whole.state_dict())))
    for step in range(30):
        later = facts()
        for control in (whole, resumed):
            control.observe(later)
            if step % 10 == 9:
                control.end_epoch()
        assert whole.state_dict() == resumed.state_dict()

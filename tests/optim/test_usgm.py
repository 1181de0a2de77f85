"""USGM against its algorithm written out, closed forms, and the rates that its theory promises."""

import json
import math
from collections.abc import Callable

import numpy
import pytest
import torch
from torch import Tensor

from ssm4rec.optim.batch_size import BregmanMeter
from ssm4rec.optim.usgm import USGM, GradientNotFiniteError

Gradient = Callable[[Tensor], Tensor]


def quadratic(size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A matrix with eigenvalues in (0, 4) and a solution, in float64."""
    draw = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=draw, dtype=torch.float64)
    return root @ root.T / size, torch.randn(size, generator=draw, dtype=torch.float64)


def written_out(start: Tensor, gradient: Gradient, diameter: float, steps: int) -> tuple[list[Tensor], list[float]]:
    """Algorithm 1, line by line: the iterates after x0, and H before each."""
    x, g, curvature = start.clone(), gradient(start), 0.0
    iterates, curvatures = [], []
    for _ in range(steps):
        curvatures.append(curvature)
        if curvature == 0:
            y = start - diameter / 2 * g / g.norm()
        else:
            y = x - g / curvature
            y = start + (y - start) * min(1.0, diameter / 2 / float((y - start).norm()))
        after = gradient(y)
        beta, r = float((after - g) @ (y - x)), float((y - x).norm())
        curvature += max(beta - curvature * r**2 / 2, 0.0) / (diameter**2 + r**2 / 2)
        x, g = y, after
        iterates.append(x)
    return iterates, curvatures


def run(optimizer: USGM, parameters: list[Tensor], gradients: Callable[[list[Tensor]], list[Tensor]]) -> None:
    for parameter, gradient in zip(parameters, gradients([p.detach() for p in parameters]), strict=True):
        parameter.grad = gradient.to(parameter.dtype)
    optimizer.step()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-11), (torch.float32, 2e-5)])
def test_is_the_published_algorithm(dtype: torch.dtype, tolerance: float) -> None:
    matrix, solution = quadratic(20)
    iterates, curvatures = written_out(
        torch.zeros(20, dtype=torch.float64), lambda x: matrix @ (x - solution), 8.0, 300
    )
    parts = [torch.zeros(size, dtype=dtype, requires_grad=True) for size in (12, 8)]
    optimizer = USGM(parts, 8.0)

    def gradients(xs: list[Tensor]) -> list[Tensor]:
        return list((matrix @ (torch.cat(xs).double() - solution)).split([12, 8]))

    for iterate, curvature in zip(iterates, curvatures, strict=True):
        run(optimizer, parts, gradients)
        torch.testing.assert_close(torch.cat(parts).detach().double(), iterate, rtol=0, atol=tolerance)
        assert optimizer.curvature == pytest.approx(curvature, rel=1e3 * tolerance)
    assert optimizer.distance_from_start == pytest.approx(float(iterates[-1].norm()), rel=1e-4)


def test_first_step_goes_to_the_surface_or_as_far_as_it_is_told() -> None:
    gradient = torch.tensor([3.0, 4.0])
    for settings, expected in (
        ({}, [-3.0, -4.0]),
        ({"initial_rate": 0.1}, [-0.3, -0.4]),
        ({"initial_rate": 9.0}, [-3, -4]),
    ):
        x = torch.zeros(2, requires_grad=True)
        run(USGM([x], 10.0, **settings), [x], lambda _: [gradient])
        torch.testing.assert_close(x.detach(), torch.tensor(expected, dtype=torch.float32))


def test_stays_in_the_ball_and_never_lengthens_its_steps_again() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.full((50,), 2.0, requires_grad=True)
    optimizer = USGM([x], 3.0)
    before = 0.0
    for _ in range(300):
        run(optimizer, [x], lambda _: [10 * torch.randn(50, generator=draw)])
        assert (x.detach() - 2).norm() <= 1.5 * (1 + 1e-5)
        assert optimizer.distance_from_start == pytest.approx(float((x.detach() - 2).norm()), abs=1e-4)
        assert optimizer.curvature >= before
        before = optimizer.curvature
    assert before > 0


def test_a_loss_in_other_units_gives_the_same_iterates() -> None:
    matrix, solution = quadratic(10)
    found = []
    for unit in (1.0, 1e-3, 1e4):
        x = torch.zeros(10, dtype=torch.float64, requires_grad=True)
        optimizer = USGM([x], 9.0)
        for _ in range(100):
            run(optimizer, [x], lambda xs, unit=unit: [unit * (matrix @ (xs[0] - solution))])
        found.append((x.detach().clone(), optimizer.curvature / unit))
    for iterate, curvature in found[1:]:
        torch.testing.assert_close(iterate, found[0][0], rtol=1e-9, atol=1e-12)
        assert curvature == pytest.approx(found[0][1], rel=1e-9)


def test_is_projected_gradient_descent_while_the_curvature_holds() -> None:
    """On a concave loss beta is below zero, so H stays at 1 / initial_rate."""
    start = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = start.clone().requires_grad_()
    optimizer = USGM([x], 4.0, initial_rate=0.05)
    expected = start.clone()
    for _ in range(80):
        run(optimizer, [x], lambda xs: [-xs[0]])
        expected = expected + 0.05 * expected
        outside = float((expected - start).norm())
        expected = start + (expected - start) * min(1.0, 2.0 / outside)
        torch.testing.assert_close(x.detach(), expected, rtol=0, atol=1e-12)
    assert optimizer.curvature == 20.0
    assert optimizer.distance_from_start == pytest.approx(2.0)


def averaged_gap(loss: Callable[[Tensor], Tensor], best: float, size: int, diameter: float, steps: int, noise: float,
                 seed: int = 0) -> float:  # fmt: skip
    """f(average of all iterates) - f*, after ``steps`` steps with gradients of that noise."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.zeros(size, dtype=torch.float64, requires_grad=True)
    optimizer = USGM([x], diameter, average=True)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(x).backward()
        x.grad += noise / math.sqrt(size) * torch.randn(size, generator=draw, dtype=torch.float64)
        optimizer.step()
    optimizer.eval()
    return float(loss(x.detach())) - best


def test_converges_as_fast_as_smoothness_allows_on_a_quadratic() -> None:
    """Without noise the gap is of the order of L D² / N."""
    matrix, solution = quadratic(20)
    smoothness, diameter = float(torch.linalg.eigvalsh(matrix)[-1]), 3 * float(solution.norm())
    gaps = [
        averaged_gap(lambda x: (x - solution) @ matrix @ (x - solution) / 2, 0.0, 20, diameter, steps, 0.0)
        for steps in (50, 200, 800)
    ]
    for gap, steps in zip(gaps, (50, 200, 800), strict=True):
        assert gap <= 4 * smoothness * diameter**2 / steps
    assert gaps[2] < gaps[1] / 3 < gaps[0] / 9


def test_converges_on_a_loss_with_corners() -> None:
    """With gradients that jump the gap is of the order of M D / sqrt(N), M their length."""
    solution = quadratic(20)[1]
    gaps = [
        averaged_gap(lambda x: (x - solution).abs().sum(), 0.0, 20, 3 * float(solution.norm()), steps, 0.0)
        for steps in (400, 6400)
    ]
    bound = 2 * math.sqrt(20) * 3 * float(solution.norm())
    assert gaps[0] <= bound / math.sqrt(400)
    assert gaps[1] <= min(bound / math.sqrt(6400), gaps[0] / 3)


def test_converges_under_noise_of_unknown_size_on_logistic_regression() -> None:
    """The gap falls as sigma D / sqrt(N): nine times the steps, a third of the gap."""
    random = numpy.random.default_rng(0)
    features = torch.from_numpy(random.normal(size=(400, 10)))
    labels = torch.from_numpy(random.choice([-1.0, 1.0], 400))

    def loss(x: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-labels * (features @ x)).mean()

    solution = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    newton = torch.optim.LBFGS([solution], max_iter=200, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        newton.zero_grad()
        value = loss(solution)
        value.backward()
        return value

    newton.step(closure)  # type: ignore[arg-type]
    best, noise, diameter = float(loss(solution.detach())), 0.5, 4.0
    gaps = [
        sum(averaged_gap(loss, best, 10, diameter, steps, noise, seed) for seed in range(6)) / 6 for steps in (100, 900)
    ]
    for gap, steps in zip(gaps, (100, 900), strict=True):
        assert 0 <= gap <= 2 * noise * diameter / math.sqrt(steps)
    assert gaps[1] < gaps[0] / 2.5


def test_a_groups_weight_is_a_change_of_variables() -> None:
    """|x|² counted w times is |sqrt(w) x|²: the same steps in other units."""
    matrix, solution = quadratic(8)
    scale = torch.tensor([1.0] * 5 + [4.0] * 3, dtype=torch.float64).sqrt()
    parts = [
        torch.zeros(5, dtype=torch.float64, requires_grad=True),
        torch.zeros(3, dtype=torch.float64, requires_grad=True),
    ]
    grouped = USGM([{"params": [parts[0]]}, {"params": [parts[1]], "weight": 4.0}], 7.0)
    scaled = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    plain = USGM([scaled], 7.0)
    for _ in range(60):
        run(grouped, parts, lambda xs: list((matrix @ (torch.cat(xs) - solution)).split([5, 3])))
        run(plain, [scaled], lambda ys: [(matrix @ (ys[0] / scale - solution)) / scale])
        torch.testing.assert_close(torch.cat(parts).detach() * scale, scaled.detach(), rtol=0, atol=1e-12)
    assert grouped.curvature == pytest.approx(plain.curvature, rel=1e-12)


def test_average_is_the_mean_of_the_iterates_and_changes_places() -> None:
    matrix, solution = quadratic(6)
    x = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    optimizer = USGM([x], 6.0, average=True)
    iterates = []
    for _ in range(9):
        run(optimizer, [x], lambda xs: [matrix @ (xs[0] - solution)])
        iterates.append(x.detach().clone())
    optimizer.eval()
    optimizer.eval()
    torch.testing.assert_close(x.detach(), torch.stack(iterates).mean(0))
    with pytest.raises(RuntimeError, match=r"call train\(\) before the next step"):
        optimizer.step()
    optimizer.train()
    assert torch.equal(x.detach(), iterates[-1])


@pytest.mark.parametrize("average", [False, True])
def test_resumes_to_the_last_bit(average: bool) -> None:
    matrix, solution = (tensor.float() for tensor in quadratic(16))

    def steps(optimizer: USGM, x: Tensor, first: int, last: int) -> None:
        for step in range(first, last):
            noise = torch.randn(16, generator=torch.Generator().manual_seed(step))
            run(optimizer, [x], lambda xs, noise=noise: [matrix @ (xs[0] - solution) + noise])

    x = torch.zeros(16, requires_grad=True)
    whole = USGM([x], 9.0, average=average)
    steps(whole, x, 0, 7)
    saved, weights = whole.state_dict(), x.detach().clone()
    tensors = {index: {name: value.clone() for name, value in state.items()} for index, state in saved["state"].items()}
    # The numbers go through JSON, as in a checkpoint.
    groups = json.loads(json.dumps(saved["param_groups"]))
    steps(whole, x, 7, 20)
    y = weights.requires_grad_()
    resumed = USGM([y], 1.0, average=average)
    resumed.load_state_dict({"state": tensors, "param_groups": groups})
    steps(resumed, y, 7, 20)
    assert torch.equal(x, y)
    assert (whole.curvature, whole.bregman, whole.step_length) == (
        resumed.curvature,
        resumed.bregman,
        resumed.step_length,
    )


def test_a_gradient_that_is_no_number_changes_nothing() -> None:
    matrix, solution = quadratic(5)
    xs = [torch.zeros(5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    disturbed, smooth = (USGM([x], 5.0) for x in xs)
    for step in range(10):
        for bad in (math.nan, math.inf) if step in (0, 5) else ():
            with pytest.raises(GradientNotFiniteError, match="NaN or infinity"):
                run(disturbed, [xs[0]], lambda _, bad=bad: [torch.full((5,), bad)])
        for optimizer, x in zip((disturbed, smooth), xs, strict=True):
            run(optimizer, [x], lambda ys: [matrix @ (ys[0] - solution)])
    assert torch.equal(xs[0], xs[1])


def test_a_parameter_without_gradient_stays_and_one_copy_less_than_four_is_kept() -> None:
    x, unused = torch.ones(4, requires_grad=True), torch.ones(3, requires_grad=True)
    optimizer = USGM([x, unused], 2.0, average=True)
    for _ in range(3):
        optimizer.zero_grad()
        (x**2).sum().backward()
        optimizer.step()
    assert torch.equal(unused.detach(), torch.ones(3))
    assert all(len(state) == 3 for state in optimizer.state.values())


def test_bfloat16_weights_are_measured_in_more_digits() -> None:
    x = torch.zeros(4096, dtype=torch.bfloat16, requires_grad=True)
    optimizer = USGM([x], 2.0)
    run(optimizer, [x], lambda _: [torch.ones(4096)])
    assert optimizer.distance_from_start == pytest.approx(1.0)
    assert float(x.detach().float().norm()) == pytest.approx(1.0, rel=1e-2)


def test_meter_and_optimizer_measure_the_same_distance() -> None:
    matrix, solution = quadratic(12)
    x = torch.zeros(12, dtype=torch.float64, requires_grad=True)
    optimizer, meter = USGM([x], 8.0), BregmanMeter([x])
    for step in range(30):
        x.grad = matrix @ (x.detach() - solution)
        measured = meter.measure()
        optimizer.step()
        if step:
            assert measured == pytest.approx(optimizer.bregman, rel=1e-9)
        else:
            assert measured is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"diameter": 0.0}, "diameter is a number above 0, not 0.0"),
        ({"diameter": -1.0}, "diameter is a number above 0"),
        ({"diameter": math.nan}, "diameter is a number above 0"),
        ({"diameter": 1.0, "weight": 0.0}, "weight is a number above 0"),
        ({"diameter": 1.0, "initial_rate": -0.1}, "initial_rate is 0 or above"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        USGM([torch.zeros(1, requires_grad=True)], **settings)

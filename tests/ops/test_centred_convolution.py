"""The centred convolution equals its definition, sum by sum, and keeps to its segments."""

from collections.abc import Iterator

import pytest
import torch

from ssm4rec.ops.backend import choose_backend
from ssm4rec.ops.convolution import centred_convolution, centred_convolution_sequential


@pytest.fixture(params=["torch", "sequential"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    device = torch.device("cpu")
    choose_backend(request.param, device)
    yield request.param
    choose_backend("auto", device)


def draw(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).requires_grad_()


IDS = torch.tensor([[0, 0, 0, 0, 0, 0, 0, 0, 0], [0, 1, 1, 1, 4, 4, 4, 4, 5]])


@pytest.mark.parametrize("segments", [None, IDS], ids=["whole rows", "segments"])
@pytest.mark.parametrize("W", [1, 3, 7])
def test_equals_the_definition(form: str, W: int, segments: torch.Tensor | None) -> None:
    B, L, C = 2, 9, 3
    x, weight, bias = draw(B, L, C), draw(C, W), draw(C)
    expected = torch.empty(B, L, C, dtype=torch.float64)
    for b in range(B):
        for t in range(L):
            near = [s for s in range(t - W // 2, t + W // 2 + 1) if 0 <= s < L]
            near = [s for s in near if segments is None or segments[b, s] == segments[b, t]]
            for c in range(C):
                expected[b, t, c] = bias[c] + sum(weight[c, W // 2 + s - t] * x[b, s, c] for s in near)
    torch.testing.assert_close(centred_convolution(x, weight, bias, segments), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("L", [1, 2, 3, 20])
@pytest.mark.parametrize("packed", [False, True])
def test_gradients_equal_those_of_the_definition(L: int, packed: bool) -> None:
    arguments = [draw(3, L, 4), draw(4, 7), draw(4)]
    ids = torch.randint(0, 4, (3, L), generator=torch.Generator().manual_seed(0)).sort(1).values if packed else None
    actual, expected = (form(*arguments, ids) for form in (centred_convolution, centred_convolution_sequential))
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad((actual * weights).sum(), arguments),
        torch.autograd.grad((expected * weights).sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-11)


def test_an_even_width_has_no_middle() -> None:
    with pytest.raises(ValueError, match="odd width, not 4"):
        centred_convolution(draw(1, 5, 2), draw(2, 4), draw(2))

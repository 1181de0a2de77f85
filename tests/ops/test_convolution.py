"""The causal convolution equals its definition, in every form."""

import pytest
import torch

from ssm4rec.ops.convolution import causal_convolution, causal_convolution_sequential

W = 4


def draw(*shape: int, seed: int = 3) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_equals_the_definition() -> None:
    B, L, C = 2, 7, 3
    x, weight, bias = draw(B, L, C), draw(C, W, seed=4), draw(C, seed=5)
    expected = torch.empty(B, L, C, dtype=torch.float64)
    for b in range(B):
        for t in range(L):
            for c in range(C):
                past = [weight[c, W - 1 - k] * x[b, t - k, c] for k in range(W) if t >= k]
                expected[b, t, c] = bias[c] + sum(past)
    for form in (causal_convolution, causal_convolution_sequential):
        y, last = form(x, weight, bias)
        torch.testing.assert_close(y, expected)
        torch.testing.assert_close(last, x[:, -3:])


SEGMENTS = torch.tensor([[0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 7]])


@pytest.mark.parametrize("L", [1, 2, 3, 11])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("with_segments", [False, True])
def test_fast_forms_equal_the_sequential_one(L: int, with_state: bool, with_segments: bool) -> None:
    x, weight, bias = draw(2, L, 3), draw(3, W, seed=4), draw(3, seed=5)
    state = draw(2, W - 1, 3, seed=6).requires_grad_() if with_state else None
    arguments = [x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    segments = SEGMENTS[:, :L] if with_segments else None
    expected = causal_convolution_sequential(*arguments, segments, state)
    actual = causal_convolution(*arguments, segments, state)
    inputs = arguments + ([state] if state is not None else [])
    slopes = [draw(*tensor.shape, seed=7) for tensor in expected]
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other)
    for one, other in zip(
        torch.autograd.grad(actual, inputs, slopes), torch.autograd.grad(expected, inputs, slopes), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_segments_are_convolved_as_if_alone() -> None:
    x, weight, bias = draw(1, 9, 3), draw(3, W, seed=4), draw(3, seed=5)
    packed, last = causal_convolution(x, weight, bias, torch.tensor([[0] * 5 + [1] * 4]))
    alone = [causal_convolution(part, weight, bias) for part in (x[:, :5], x[:, 5:])]
    torch.testing.assert_close(packed, torch.cat([y for y, _ in alone], dim=1))
    torch.testing.assert_close(last, alone[1][1])


def test_a_state_continues() -> None:
    x, weight, bias = draw(2, 9, 3), draw(3, W, seed=4), draw(3, seed=5)
    whole, last = causal_convolution(x, weight, bias)
    for cut in (1, 2, 6):
        first, state = causal_convolution(x[:, :cut], weight, bias)
        second, end = causal_convolution(x[:, cut:], weight, bias, None, state)
        torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
        torch.testing.assert_close(end, last)

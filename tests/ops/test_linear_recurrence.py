"""The chunked linear recurrence equals its definition: values, gradients, segments, states, any length."""

import pytest
import torch
from torch import Tensor

from ssm4rec.ops import backend
from ssm4rec.ops.linear_recurrence import linear_recurrence, linear_recurrence_chunked, linear_recurrence_sequential


def draw(*shape: int, seed: int = 7) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def draw_decay(channels: int) -> Tensor:
    """Moduli from .5 to .999, phases all round."""
    moduli = torch.linspace(0.5, 0.999, channels, dtype=torch.float64)
    return torch.polar(moduli, torch.linspace(0, 6, channels, dtype=torch.float64))


def draw_segments(B: int, L: int) -> Tensor:
    """Ids that rise now and then, by more than one too, from another start in each row."""
    steps = torch.randint(0, 12, (B, L), generator=torch.Generator().manual_seed(3))
    return torch.where(steps > 9, steps - 9, 0).cumsum(1) + torch.arange(B)[:, None]


# Around the shortest chunk of 16, with ragged last chunks, and past 16 x 16, where chunks grow.
@pytest.mark.parametrize("L", [1, 2, 15, 16, 17, 32, 33, 50, 200, 256, 300])
@pytest.mark.parametrize("with_segments", [False, True])
@pytest.mark.parametrize("with_state", [False, True])
def test_chunked_equals_sequential(L: int, with_segments: bool, with_state: bool) -> None:
    B, C = 3, 5
    x, decay = draw(B, L, C).requires_grad_(), draw_decay(C).requires_grad_()
    segments = draw_segments(B, L) if with_segments else None
    initial_state = draw(B, C, seed=8).requires_grad_() if with_state else None
    inputs = [x, decay] if initial_state is None else [x, decay, initial_state]
    weights, last_weights = draw(B, L, C, seed=9), draw(B, C, seed=10)
    results = []
    for form in (linear_recurrence_sequential, linear_recurrence_chunked):
        states, last = form(x, decay, segments, initial_state)
        loss = (states * weights).real.sum() + (last * last_weights).imag.sum()
        results.append((states, last, *torch.autograd.grad(loss, inputs)))
    for expected, actual in zip(*results, strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-11)


def test_gradient_by_finite_differences() -> None:
    B, L, C = 2, 18, 2  # two chunks
    arguments = [tensor.requires_grad_() for tensor in (draw(B, L, C), draw_decay(C), draw(B, C, seed=8))]
    for segments in (None, draw_segments(B, L)):
        assert torch.autograd.gradcheck(
            lambda x, decay, state, ids=segments: linear_recurrence_chunked(x, decay, ids, state), arguments
        )


@pytest.mark.parametrize("form", [linear_recurrence_sequential, linear_recurrence_chunked])
def test_closed_form_of_constant_inputs(form) -> None:
    """With x = 1 the state is the geometric series 1 + a + ... + a^t."""
    decay = draw_decay(4)
    states, last = form(torch.ones(1, 40, 4, dtype=torch.complex128), decay)
    expected = (1 - decay ** torch.arange(1, 41)[:, None]) / (1 - decay)
    torch.testing.assert_close(states[0], expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last[0], expected[-1], rtol=1e-12, atol=1e-12)


def test_segments_are_separate_runs() -> None:
    x, decay = draw(1, 45, 3), draw_decay(3)
    ids = torch.tensor([4] * 20 + [5] + [9] * 24)[None]
    states, last = linear_recurrence_chunked(x, decay, ids)
    runs = [linear_recurrence_chunked(part, decay) for part in x.split([20, 1, 24], dim=1)]
    torch.testing.assert_close(states, torch.cat([run[0] for run in runs], dim=1), rtol=0, atol=1e-14)
    torch.testing.assert_close(last, runs[-1][1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("cut", [1, 16, 30, 44])
def test_initial_state_continues_a_run(cut: int) -> None:
    x, decay = draw(2, 45, 3), draw_decay(3)
    whole, end = linear_recurrence_chunked(x, decay)
    first, between = linear_recurrence_chunked(x[:, :cut], decay)
    second, last = linear_recurrence_chunked(x[:, cut:], decay, None, between)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(last, end, rtol=1e-13, atol=1e-13)


def test_long_rows_stay_finite_and_precise_in_single_precision() -> None:
    L, C = 10_000, 4
    decay = torch.polar(torch.tensor([0.8, 0.99, 0.9999, 0.999999]), torch.tensor([0.0, 1.0, 3.0, 6.0]))
    x = draw(1, L, C)
    expected, _ = linear_recurrence_sequential(x, decay.to(torch.complex128))
    single, decay = x.to(torch.complex64).requires_grad_(), decay.requires_grad_()
    states, _ = linear_recurrence_chunked(single, decay)
    # Rounding errors add up to about 1 / (1 - modulus) of them at most, and the states are as much larger than x.
    error = (states - expected).abs().amax(1) / expected.abs().amax(1)
    assert error.max() < 1e-4
    states.abs().sum().backward()
    assert torch.isfinite(torch.view_as_real(single.grad)).all()
    assert torch.isfinite(torch.view_as_real(decay.grad)).all()


def test_inputs_may_be_strided_or_lazily_conjugated() -> None:
    x, decay = draw(20, 2, 3).transpose(0, 1).conj(), draw_decay(3).conj()
    expected = linear_recurrence_sequential(x, decay)
    torch.testing.assert_close(linear_recurrence_chunked(x, decay), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("form", "function"), [("sequential", linear_recurrence_sequential), ("torch", linear_recurrence_chunked)]
)
def test_the_form_can_be_chosen(form, function, monkeypatch) -> None:
    monkeypatch.setattr(backend, "_backend", form)
    x, decay = draw(2, 40, 3), draw_decay(3)
    chosen, expected = linear_recurrence(x, decay), function(x, decay)
    assert all(torch.equal(one, other) for one, other in zip(chosen, expected, strict=True))

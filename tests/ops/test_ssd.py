"""The chunked SSD equals the recurrence: values, gradients, any length and chunk."""

import pytest
import torch

from ssm4rec.ops.ssd import ssd_chunked, ssd_sequential


def inputs(B: int, L: int, H: int, P: int, N: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = [draw(B, L, H, P), draw(B, L, H).exp(), -draw(H).exp(), draw(B, L, N), draw(B, L, N)]
    return [tensor.requires_grad_() for tensor in tensors]


@pytest.mark.parametrize(("L", "chunk"), [(1, 4), (3, 4), (4, 4), (5, 4), (12, 4), (13, 5), (50, 32), (64, 16)])
def test_chunked_equals_sequential(L: int, chunk: int) -> None:
    arguments = inputs(B=2, L=L, H=3, P=4, N=5)
    expected = ssd_sequential(*arguments)
    actual = ssd_chunked(*arguments, chunk_length=chunk)
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for one, other in zip(
        torch.autograd.grad((actual * weights).sum(), arguments),
        torch.autograd.grad((expected * weights).sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_closed_form_of_a_constant_decay() -> None:
    """With dt = 1, b = c = x = 1 the output is the geometric series 1 + a + ... + a^t."""
    ones = torch.ones(1, 9, 1, 1, dtype=torch.float64)
    decay = torch.tensor([-0.5], dtype=torch.float64)
    y = ssd_chunked(ones, ones[..., 0], decay, ones[:, :, 0], ones[:, :, 0], chunk_length=4)
    ratio = decay.exp()
    expected = (1 - ratio ** torch.arange(1, 10)) / (1 - ratio)
    torch.testing.assert_close(y.flatten(), expected, rtol=1e-12, atol=1e-12)


def test_strong_decay_stays_finite_in_float32() -> None:
    """Above the diagonal the exponent reaches +16 x 40 x 32: exp of it would be infinite, and its gradient NaN."""
    x = torch.randn(1, 64, 1, 2, requires_grad=True)
    dt = torch.full((1, 64, 1), 40.0, requires_grad=True)
    b = torch.randn(1, 64, 3)
    y = ssd_chunked(x, dt, torch.tensor([-16.0]), b, b, chunk_length=32)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(dt.grad).all()

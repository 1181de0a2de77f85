"""The chunked SSD and the kernel equal the recurrence: values, gradients, any length, segments and initial state."""

import pytest
import torch

from ssm4rec.ops.ssd import ssd, ssd_chunked, ssd_sequential


def inputs(B: int, L: int, H: int, P: int, N: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(7)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = [draw(B, L, H, P), draw(B, L, H).exp(), -draw(H).exp(), draw(B, L, N), draw(B, L, N)]
    return [tensor.requires_grad_() for tensor in tensors]


SIZES = [(1, 4), (3, 4), (4, 4), (5, 4), (12, 4), (13, 5), (50, 32), (64, 16)]


def ids(L: int) -> torch.Tensor:
    """Two rows of segments: starts inside chunks, at their edges, and segments longer than a chunk."""
    generator = torch.Generator().manual_seed(2)
    return torch.stack([(torch.rand(L, generator=generator) < share).cumsum(0) for share in (0.1, 0.5)])


@pytest.mark.parametrize(("L", "chunk"), SIZES)
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("with_segments", [False, True])
def test_chunked_equals_sequential(L: int, chunk: int, with_state: bool, with_segments: bool) -> None:
    arguments = inputs(B=2, L=L, H=3, P=4, N=5)
    segments = ids(L) if with_segments else None
    state = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) if with_state else None
    expected = ssd_sequential(*arguments, segments, state)
    actual = ssd_chunked(*arguments, segments, state, chunk_size=chunk)
    leaves = arguments + ([state] if state is not None else [])
    generator = torch.Generator().manual_seed(1)
    slopes = [torch.randn(tensor.shape, generator=generator, dtype=torch.float64) for tensor in expected]
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(actual, leaves, slopes), torch.autograd.grad(expected, leaves, slopes), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("L", [1, 31, 32, 33, 70])
@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("with_segments", [False, True])
def test_kernel_equals_sequential(L: int, with_state: bool, with_segments: bool) -> None:
    """In float32, which with a C compiler is the kernel's; more channels than one block of its lanes holds."""
    torch.manual_seed(5)
    exact = inputs(B=2, L=L, H=3, P=30, N=5)
    if with_state:
        exact.append(torch.randn(2, 3, 30, 5, dtype=torch.float64, requires_grad=True))
    segments = ids(L) if with_segments else None
    single = [tensor.detach().float().requires_grad_() for tensor in exact]
    slopes = [torch.randn(2, L, 3, 30, dtype=torch.float64), torch.randn(2, 3, 30, 5, dtype=torch.float64)]
    expected = ssd_sequential(*exact[:5], segments, *(exact[5:] or [None]))
    actual = ssd(*single[:5], segments, *single[5:])
    wanted = [*expected, *torch.autograd.grad(expected, exact, slopes)]
    found = [*actual, *torch.autograd.grad(actual, single, [slope.float() for slope in slopes])]
    for one, other in zip(found, wanted, strict=True):
        # The gradient of A is a sum that cancels: float32 leaves 2e-5 of it here, and ten times that to the torch form.
        torch.testing.assert_close(one.double(), other, rtol=0, atol=1e-4 * float(other.detach().abs().max()))


def test_kernel_refuses_shapes_that_it_would_read_past() -> None:
    pytest.importorskip("ssm4rec.ops.selective_scan_native", exc_type=ImportError)
    x, dt, A, b, c = (tensor.detach().float() for tensor in inputs(B=2, L=4, H=3, P=4, N=5))
    with pytest.raises(ValueError, match=r"c is \(2, 3, 5\), not \(2, 4, 5\)"):
        ssd(x, dt, A, b, c[:, :3])


@pytest.mark.parametrize("with_segments", [False, True])
def test_gradients_are_those_of_the_function(with_segments: bool) -> None:
    segments = ids(5) if with_segments else None
    state = torch.randn(2, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda *tensors: ssd_chunked(*tensors[:5], segments, tensors[5], chunk_size=2),
        (*inputs(B=2, L=5, H=2, P=3, N=2), state),
    )


def test_segments_are_scanned_as_if_alone() -> None:
    arguments = inputs(B=1, L=20, H=2, P=3, N=4)
    x, dt, A, b, c = arguments
    packed, end = ssd_chunked(*arguments, torch.tensor([[0] * 7 + [1] * 1 + [2] * 12]), chunk_size=4)
    alone = [
        ssd_chunked(x[:, part], dt[:, part], A, b[:, part], c[:, part], chunk_size=4)
        for part in (slice(0, 7), slice(7, 8), slice(8, 20))
    ]
    torch.testing.assert_close(packed, torch.cat([y for y, _ in alone], dim=1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(end, alone[-1][1], rtol=1e-12, atol=1e-12)


def test_closed_form_of_a_constant_decay() -> None:
    """With dt = 1, b = c = x = 1 the output is the geometric series 1 + a + ... + a^t."""
    ones = torch.ones(1, 9, 1, 1, dtype=torch.float64)
    decay = torch.tensor([-0.5], dtype=torch.float64)
    y, _ = ssd_chunked(ones, ones[..., 0], decay, ones[:, :, 0], ones[:, :, 0], chunk_size=4)
    ratio = decay.exp()
    expected = (1 - ratio ** torch.arange(1, 10)) / (1 - ratio)
    torch.testing.assert_close(y.flatten(), expected, rtol=1e-12, atol=1e-12)


def test_strong_decay_stays_finite_in_float32() -> None:
    """Above the diagonal the exponent reaches +16 x 40 x 32: exp of it would be infinite, and its gradient NaN."""
    x = torch.randn(1, 64, 1, 2, requires_grad=True)
    dt = torch.full((1, 64, 1), 40.0, requires_grad=True)
    b = torch.randn(1, 64, 3)
    y, state = ssd_chunked(x, dt, torch.tensor([-16.0]), b, b, chunk_size=32)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(state).all()
    assert torch.isfinite(x.grad).all()
    assert torch.isfinite(dt.grad).all()


def test_ten_thousand_steps_equal_the_recurrence_in_float32() -> None:
    arguments = [tensor.detach().float() for tensor in inputs(B=1, L=10_000, H=1, P=2, N=3)]
    y, state = ssd_chunked(*arguments, chunk_size=32)
    expected, expected_state = ssd_sequential(*(tensor.double() for tensor in arguments), None, None)
    torch.testing.assert_close(y.double(), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(state.double(), expected_state, rtol=1e-4, atol=1e-4)

"""Every form of the selective scan equals the recurrence: values, gradients, segments, states, any size."""

import math
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ssm4rec.ops.backend import choose_backend
from ssm4rec.ops.selective_scan import selective_scan, selective_scan_sequential, selective_scan_torch

CPU = torch.device("cpu")
SIZES = [(2, 1, 3, 1), (3, 7, 5, 5), (2, 33, 64, 17), (1, 70, 130, 4)]
"""(B, L, E, N): one step, less than a vector, a chunk and a block of the kernel, and more than one of each."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    choose_backend("auto", CPU)


@pytest.fixture
def native() -> Callable[..., tuple[Tensor, Tensor]]:
    """The compiled kernel; a test with it is skipped where there was no compiler."""
    return pytest.importorskip("ssm4rec.ops.selective_scan_native", exc_type=ImportError).selective_scan_native


def inputs(B: int, L: int, E: int, N: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Return x, dt, A, b, c and an initial state."""
    generator = torch.Generator().manual_seed(11)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = [
        draw(B, L, E), (draw(B, L, E) - 1).exp(), -draw(E, N).exp(), draw(B, L, N), draw(B, L, N), draw(B, E, N)
    ]  # fmt: skip
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def packed_ids(B: int, L: int) -> Tensor:
    """Return segment ids (B, L) that part at other places in every row."""
    return (torch.arange(L) + torch.arange(B)[:, None]) // 3


def values_and_gradients(outputs: tuple[Tensor, Tensor], arguments: list[Tensor]) -> list[Tensor]:
    """Return y, the last state, and the gradients of a weighted sum of both."""
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(out.shape, generator=generator, dtype=torch.float64).to(out.dtype) for out in outputs]
    loss = sum((out * weight).sum() for out, weight in zip(outputs, weights, strict=True))
    return [*outputs, *torch.autograd.grad(loss, arguments)]


def assert_close(actual: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """Compare with a tolerance that is relative to the largest element, as sums have it."""
    for one, other in zip(actual, expected, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one.to(other.dtype), other, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_torch_equals_sequential(sizes: tuple[int, int, int, int], packed: bool) -> None:
    arguments = inputs(*sizes)
    segments = packed_ids(*sizes[:2]) if packed else None
    results = [
        values_and_gradients(form(*arguments[:5], segments, arguments[5]), arguments)
        for form in (selective_scan_torch, selective_scan_sequential)
    ]
    assert_close(*results, tolerance=1e-13)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_native_equals_sequential(
    native: Callable[..., None], sizes: tuple[int, int, int, int], packed: bool, shared: bool
) -> None:
    """Every variant of the kernel that this processor runs, against float64; with a rate a channel, too."""
    from ssm4rec.ops.selective_scan_native import VARIANTS

    arguments = inputs(*sizes, dtype=torch.float32)
    if shared:
        arguments[2] = arguments[2].detach()[:, :1].clone().requires_grad_()
    exact = [tensor.detach().double().requires_grad_() for tensor in arguments]
    segments = packed_ids(*sizes[:2]) if packed else None
    rates = exact[2].expand(-1, sizes[3])
    reference = selective_scan_sequential(*exact[:2], rates, *exact[3:5], segments, exact[5])
    expected = values_and_gradients(reference, exact)
    for variant in range(VARIANTS):
        outputs = native(*arguments[:5], segments, arguments[5], variant)
        assert_close(values_and_gradients(outputs, arguments), expected, tolerance=2e-6)


def test_native_without_a_state_and_of_either_output_alone(native: Callable[..., tuple[Tensor, Tensor]]) -> None:
    arguments = inputs(2, 40, 6, 3, dtype=torch.float32)[:5]
    for index in range(2):
        results = []
        for outputs in (form(*arguments, None, None) for form in (native, selective_scan_sequential)):
            loss = outputs[index].square().sum()
            results.append([loss, *torch.autograd.grad(loss, arguments, allow_unused=True, materialize_grads=True)])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_native_powers_are_exact_to_rounding(native: Callable[..., tuple[Tensor, Tensor]]) -> None:
    """One step from h = 1 with x = 0 gives exp(dt A) itself: 1 at 0, 0 far below, NaN for NaN."""
    A = -torch.cat([torch.linspace(0, 87, 20_001), torch.tensor([88.1, 1e3, 3e7, math.nan])])[None]  # (1, N)
    one = torch.ones(1, 1, 1)
    maps = torch.zeros(1, 1, A.shape[1])
    _, state = native(0 * one, one, A, maps, maps, None, torch.ones(1, *A.shape))
    decays = state[0, 0]
    exact = A[0].double().exp()
    errors = (decays[:20_001] / exact[:20_001] - 1).abs()
    # 1 / ln 2, A / ln 2 and its product with dt are rounded, by up to 2^-24 each: that is in the exponent.
    assert bool((errors <= 1.3e-7 + 3 * 2**-24 * A[0, :20_001].abs()).all())
    assert decays[0] == 1
    assert decays[-4:-1].tolist() == [0, 0, 0]
    assert math.isnan(decays[-1])


@pytest.mark.parametrize("rates", [16, 1])
def test_native_results_do_not_depend_on_threads(native: Callable[..., tuple[Tensor, Tensor]], rates: int) -> None:
    arguments = inputs(5, 40, 130, 16, dtype=torch.float32)  # enough work for threads to be used
    arguments[2] = arguments[2].detach()[:, :rates].clone().requires_grad_()
    results = []
    for threads in (1, 2, 2, 3):
        torch.set_num_threads(threads)
        results.append(values_and_gradients(native(*arguments[:5], None, arguments[5]), arguments))
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


def test_gradients_are_those_of_finite_differences() -> None:
    arguments = inputs(1, 3, 2, 2)
    segments = torch.tensor([[4, 4, 7]])
    assert torch.autograd.gradcheck(
        lambda *tensors: selective_scan_torch(*tensors[:5], segments, tensors[5]), arguments
    )


FORMS = [("sequential", torch.float64), ("torch", torch.float64), ("auto", torch.float32)]
"""With a C compiler, the last is the kernel."""


@pytest.mark.parametrize(("form", "dtype"), FORMS)
def test_segments_are_as_if_each_stood_alone(form: str, dtype: torch.dtype) -> None:
    choose_backend(form, CPU)
    x, dt, A, b, c, state = inputs(2, 9, 3, 2, dtype)
    segments = torch.tensor([[0, 0, 0, 0, 1, 1, 5, 6, 6]] * 2)
    y, last = selective_scan(x, dt, A, b, c, segments, state)
    alone, entering, ends = [], state, []
    for place in (slice(0, 4), slice(4, 6), slice(6, 7), slice(7, 9)):
        out, end = selective_scan(
            *(tensor[:, place] for tensor in (x, dt)), A, b[:, place], c[:, place], None, entering
        )
        alone.append(out)
        ends.append(end)
        entering = None
    torch.testing.assert_close(y, torch.cat(alone, dim=1))
    torch.testing.assert_close(last, ends[-1])


@pytest.mark.parametrize(("form", "dtype"), FORMS)
def test_a_state_continues_the_row(form: str, dtype: torch.dtype) -> None:
    choose_backend(form, CPU)
    x, dt, A, b, c, _ = inputs(2, 37, 3, 2, dtype)
    whole, last = selective_scan(x, dt, A, b, c)
    state, parts = None, []
    for place in (slice(0, 34), slice(34, 35), slice(35, 37)):
        out, state = selective_scan(x[:, place], dt[:, place], A, b[:, place], c[:, place], None, state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole)
    torch.testing.assert_close(state, last)


def test_closed_form_of_a_constant_decay() -> None:
    """With dt = b = c = x = 1 the output is the geometric series 1 + a + ... + a^t."""
    ones = torch.ones(1, 9, 1)
    y, _ = selective_scan(ones, ones, torch.tensor([[-0.5]]), ones, ones)
    ratio = math.exp(-0.5)
    expected = (1 - ratio ** torch.arange(1, 10)) / (1 - ratio)
    torch.testing.assert_close(y.flatten(), expected)


@pytest.mark.parametrize(("form", "L"), [("torch", 500), ("auto", 10_000)])
def test_long_rows_and_large_steps_stay_finite(form: str, L: int) -> None:
    choose_backend(form, CPU)
    arguments = inputs(1, L, 2, 3, dtype=torch.float32)
    with torch.no_grad():
        arguments[1][:, ::2] = 1e3
        arguments[1][:, 1::5] = 0
    outputs = selective_scan(*arguments[:5], None, arguments[5])
    assert all(bool(torch.isfinite(tensor).all()) for tensor in values_and_gradients(outputs, arguments))


def test_a_library_of_an_older_source_is_refused(tmp_path: Path) -> None:
    """Called with the arguments of another version it would read whatever lies there."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    native = tmp_path / "native"
    native.mkdir()
    (native / "old.c").write_text("int selective_scan_variants(void) { return 1; }")
    command = [compiler, "-shared", "-fPIC", "-o", native / "libselective_scan.so", native / "old.c"]
    subprocess.run(command, check=True)
    source = Path(find_spec("ssm4rec.ops").origin).parent / "selective_scan_native.py"
    shutil.copy(source, tmp_path / "selective_scan_native.py")
    spec = spec_from_file_location("old_selective_scan_native", tmp_path / "selective_scan_native.py")
    with pytest.raises(ImportError, match="compiled from another version of its source; install the package again"):
        spec.loader.exec_module(module_from_spec(spec))


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, dt, A, b, c, state = inputs(2, 3, 4, 5)
    with pytest.raises(ValueError, match=r"b is \(2, 1, 5\), not \(2, 3, 5\)"):
        selective_scan(x, dt, A, b[:, :1], c)
    with pytest.raises(ValueError, match=r"initial_state is \(1, 4, 5\), not \(2, 4, 5\)"):
        selective_scan(x, dt, A, b, c, None, state[:1])

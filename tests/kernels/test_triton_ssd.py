"""mamba-ssm's own Triton kernels, computed by Triton's interpreter on a CPU, against our SSD (`make test-kernels`).

What stands between is all of the package's Python: its autograd function, its checks, its kernels' pointer arithmetic.
No GPU takes part: Triton calls each program of a kernel's grid as a Python function (TRITON_INTERPRET=1).
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from ssm4rec.models.serving import ServingRecommender
from ssm4rec.ops.backend import backend_of, choose_backend
from ssm4rec.ops.ssd import ssd, ssd_sequential
from ssm4rec.recipes.recommenders import recipe
from ssm4rec.training.device import choose_float32_products
from tests.ops import kernel_contract
from tests.ops.kernel_contract import make_believe

pytestmark = pytest.mark.kernels

B, L, H, P, N = 2, 20, 2, 8, 16
CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def interpreted() -> Iterator[None]:
    """Let CPU tensors take the way of CUDA tensors, to kernels that are interpreted, each in one configuration."""
    assert os.environ.get("TRITON_INTERPRET") == "1", "run by `make test-kernels`"
    import triton

    with make_believe(), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_F32_DEFAULT", "")
        choose_float32_products(tf32=False)
        patch.setattr(triton, "autotune", _one_configuration(triton.autotune))
        patch.setattr(torch.cuda, "device", lambda index: nullcontext())
        patch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(multi_processor_count=2))
        # The real package instead of its stand-in, but for its __init__, which imports its compiled modules.
        for name in [name for name in sys.modules if name.split(".")[0] == "mamba_ssm"]:
            patch.delitem(sys.modules, name)
        spec = find_spec("mamba_ssm")
        assert spec is not None
        assert spec.origin is not None
        package = ModuleType("mamba_ssm")
        package.__path__ = [str(Path(spec.origin).parent)]
        patch.setitem(sys.modules, "mamba_ssm", package)
        yield
        choose_backend("auto", CPU)


def _one_configuration(autotune: Callable[..., Any]) -> Callable[..., Any]:
    """Return Triton's autotune with nothing left to choose: the smallest blocks, for the smallest sizes."""

    def cheapest(configs: list[Any], **options: Any) -> Any:
        def cost(config: Any) -> int:
            cost = 1
            for value in config.kwargs.values():
                cost *= value
            return cost

        return autotune(configs=[min(configs, key=cost)], **options)

    return cheapest


@pytest.mark.parametrize("with_state", [False, True])
@pytest.mark.parametrize("with_segments", [False, True])
def test_the_kernels_compute_our_ssd(with_segments: bool, with_state: bool) -> None:
    """Outputs, final states and all gradients, within 1e-5 of their largest value."""
    torch.manual_seed(0)
    x, b, c = torch.randn(B, L, H, P), torch.randn(B, L, N), torch.randn(B, L, N)
    leaves = [x, torch.rand(B, L, H), -torch.rand(H) - 0.1, b, c]
    segments = torch.tensor([[0] * 7 + [1] * 13, [3] * 1 + [4] * 10 + [5] * 9]) if with_segments else None
    state = torch.randn(B, H, P, N) if with_state else None
    leaves = [leaf.requires_grad_() for leaf in (*leaves, *([] if state is None else [state]))]
    slopes = [torch.randn(B, L, H, P), torch.randn(B, H, P, N)]
    assert backend_of("ssd", CPU) == "cuda_kernel"
    found = ssd(*leaves[:5], segments, state)
    exact = [leaf.double() for leaf in leaves]
    expected = ssd_sequential(*exact[:5], segments, *(exact[5:] or [None]))
    compare(found, expected)
    compare(
        torch.autograd.grad(found, leaves, slopes),
        torch.autograd.grad(expected, leaves, [slope.double() for slope in slopes]),
    )


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (3, 7)])
@pytest.mark.parametrize("name", ["2mamba4rec", "hydra4rec"])
def test_recommenders_compute_with_the_kernels_what_they_do_without(name: str, rows: int, length: int) -> None:
    """The stand-in of causal-conv1d gives the SSD what the real one would; a state is stepped on."""
    torch.manual_seed(0)
    model = recipe(name, "smoke", "long").model.build(20).eval()
    items, lengths = torch.randint(1, 21, (rows, length)), torch.full((rows,), length)
    found = []
    for form in ("torch", "auto"):
        choose_backend(form, CPU)  # type: ignore[arg-type]
        hidden = model(items, torch.arange(length).expand(rows, length) // 3)
        weights = [one for one in model.parameters() if one.requires_grad]
        gradients = torch.autograd.grad((hidden**2).sum(), weights, allow_unused=True)
        results = [hidden.detach(), *(one for one in gradients if one is not None)]
        with torch.no_grad():
            results.append(model.score_next(items, lengths))
            if isinstance(model, ServingRecommender):
                results.append(model.step(model.prefill(items, lengths), items[:, 0])[1])
        found.append(results)
    assert set(kernel_contract.calls) <= {"causal_conv1d_fn"}
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4)


def test_triton_reads_the_precision_where_it_is_written() -> None:
    import triton

    for tf32, expected in ((True, "tf32"), (False, "ieee")):
        choose_float32_products(tf32=tf32)
        assert triton.knobs.language.fp32_default == expected


def compare(found: Any, expected: Any) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one.double() - other).abs().max() <= 1e-5 * max(1.0, float(other.detach().abs().max()))

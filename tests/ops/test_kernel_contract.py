"""What our code hands to causal-conv1d and mamba-ssm passes their own checks, forward and backward."""

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ssm4rec.models.recommender import Recommender
from ssm4rec.models.serving import ServingRecommender
from ssm4rec.models.table import MODELS
from ssm4rec.ops.backend import MissingKernelError, choose_backend
from ssm4rec.ops.convolution import causal_convolution
from ssm4rec.ops.selective_scan import selective_scan
from ssm4rec.ops.ssd import ssd
from ssm4rec.recipes.recommenders import recipe
from tests.ops.kernel_contract import make_believe

CPU = torch.device("cpu")
SHAPES = [(1, 1), (2, 1), (1, 2), (3, 7)]
PROFILES = ["smoke", "quick", "paper", "best"]
ITEMS = 20


class CUDAAutocast(TorchFunctionMode):
    """Under CUDA's autocast these compute in float32 (ATen/autocast_mode.h, AT_FORALL_FP32); a CPU's leaves them."""

    _IN_FLOAT32 = (functional.softplus, torch.exp, functional.layer_norm, functional.rms_norm, torch.cumsum)

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        options = options or {}
        if function in self._IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            arguments = [
                one.float() if isinstance(one, Tensor) and one.is_floating_point() else one for one in arguments
            ]
        return function(*arguments, **options)


@pytest.fixture
def called() -> Iterator[list[str]]:
    with make_believe() as calls:
        yield calls
    choose_backend("auto", CPU)


def model_of(name: str, profile: str) -> Recommender:
    torch.manual_seed(0)
    return recipe(name, profile, "long").model.build(ITEMS).eval()


def work(model: Recommender, B: int, L: int) -> list[Tensor]:
    """Return scores of every way that a model is used, and the gradients of a training step."""
    torch.manual_seed(1)
    items, lengths = torch.randint(1, ITEMS + 1, (B, L)), torch.randint(1, L + 1, (B,))
    lengths[0] = L
    padded = items * (torch.arange(L) < lengths[:, None])
    found = []
    with torch.no_grad():
        found.append(model.score_next(padded, lengths))
        if isinstance(model, ServingRecommender):
            state = model.prefill(padded, lengths)
            for more in torch.randint(1, ITEMS + 1, (2, B)):
                state, scores = model.step(state, more)
                found.append(scores)
    for segments in (None, torch.arange(L).expand(B, L) // 3):
        hidden = model(items, segments)
        parameters = [one for one in model.parameters() if one.requires_grad]
        gradients = torch.autograd.grad((hidden.float() ** 2).sum(), parameters, allow_unused=True)
        found += [hidden.detach(), *(one for one in gradients if one is not None)]
    return found


@pytest.mark.parametrize(("B", "L"), SHAPES)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", MODELS)
def test_every_recommender_passes_the_kernels_checks(
    called: list[str], name: str, profile: str, B: int, L: int
) -> None:
    """In float32 with the results of the torch form; in bfloat16 as under CUDA's autocast."""
    model = model_of(name, profile)
    choose_backend("torch", CPU)
    expected = work(model, B, L)
    assert not called
    choose_backend("fused", CPU)
    for one, other in zip(work(model, B, L), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    kernels = {
        "mamba4rec": {"causal_conv1d_fn", "selective_scan_fn"},
        "2mamba4rec": {"causal_conv1d_fn", "mamba_chunk_scan_combined"},
        "hydra4rec": {"mamba_chunk_scan_combined"},
    }
    assert set(called) == kernels.get(name, set())
    with torch.autocast("cpu", torch.bfloat16), CUDAAutocast():
        assert all(torch.isfinite(one).all() for one in work(model, B, L))


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, dtype=dtype).requires_grad_()


@pytest.mark.parametrize(("B", "L"), SHAPES)
@pytest.mark.parametrize("channels", [8, 64, 96])
@pytest.mark.parametrize("width", [2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("more", ["nothing", "segments", "state"])
def test_convolution_of_a_slice(
    called: list[str], B: int, L: int, channels: int, width: int, dtype: torch.dtype, more: str
) -> None:
    """The input is a slice of odd strides, the state of another type, and so is each gradient's layout."""
    x = draw(B, L, channels + 5, dtype=dtype)[..., 5:]
    weight, bias = draw(channels, width), draw(channels)
    segments = torch.arange(L).expand(B, L) if more == "segments" else None
    state = draw(B, channels, width - 1).transpose(1, 2) if more == "state" else None
    choose_backend("fused", CPU)
    y, _ = causal_convolution(x, weight, bias, segments, state)
    assert y.dtype == dtype
    leaves = [x, weight, bias, *([] if state is None else [state])]
    wide = torch.ones(B, L, channels + 3, dtype=dtype)[..., 3:]
    for gradient in (torch.ones((), dtype=dtype).expand_as(y), wide, torch.ones(B, channels, L, dtype=dtype).mT):
        torch.autograd.grad(y, leaves, gradient, retain_graph=True)
    assert called == ["causal_conv1d_fn"]


def beyond() -> dict[str, Any]:
    """Return calls that a kernel does not take, by what of them it says it does not."""
    double = torch.float64

    def scan(states: int, dtype: torch.dtype = torch.float32) -> Tensor:
        maps = [draw(2, 3, states, dtype=dtype) for _ in range(2)]
        x, dt = draw(2, 3, 8, dtype=dtype), draw(2, 3, 8, dtype=dtype).sigmoid()
        return selective_scan(x, dt, -draw(8, states, dtype=dtype).exp(), *maps)[0]

    def dual(dtype: torch.dtype) -> Tensor:
        maps = [draw(2, 3, 8, dtype=dtype) for _ in range(2)]
        x, dt = draw(2, 3, 4, 8, dtype=dtype), draw(2, 3, 4, dtype=dtype).sigmoid()
        return ssd(x, dt, -draw(4, dtype=dtype).exp(), *maps)[0]

    def convolution(channels: int, width: int, dtype: torch.dtype = torch.float32) -> Tensor:
        weight, bias = draw(channels, width, dtype=dtype), draw(channels, dtype=dtype)
        return causal_convolution(draw(2, 3, channels, dtype=dtype), weight, bias)[0]

    return {
        "12 channels": lambda: convolution(12, 4),
        "a convolution of width 5": lambda: convolution(8, 5),
        "x of torch.float64": lambda: convolution(8, 4, double),
        "a state of 257": lambda: scan(257),
        "dt of torch.float64": lambda: scan(16, double),
        "x of torch.float64, dt of": lambda: dual(double),
    }


@pytest.mark.parametrize("what", beyond())
def test_what_a_kernel_does_not_take_goes_to_torch_or_is_refused(
    called: list[str], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = beyond()[what]
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            torch.manual_seed(0)
            y = call()
            y.sum().backward()
    assert not called
    (said,) = (record.message for record in caplog.records if "does not take" in record.message)
    assert what in said
    choose_backend("torch", CPU)
    torch.manual_seed(0)
    assert torch.equal(call(), y)
    choose_backend("fused", CPU)
    with pytest.raises(MissingKernelError, match=rf"does not take {what}.*; choose auto or torch$"):
        call()

"""Stand-ins for causal-conv1d 1.7.0 and mamba-ssm 2.3.2.post1: their own checks, then our reference's result.

No GPU is needed, nor either package: each check is that of the source named beside it, on shapes, strides and types
(that a tensor lies on a GPU is left out). What is returned has the strides and types of the kernel's results, since
torch goes on with those. ``make_believe`` puts the stand-ins in the packages' place and lets CPU tensors take the way
of CUDA tensors.

The wrappers' own preparations (``x.contiguous()`` where neither stride is 1, and so on) are kept: a check judges what
is left after them.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ssm4rec.ops import backend
from ssm4rec.ops.convolution import causal_convolution_sequential
from ssm4rec.ops.selective_scan import selective_scan_sequential
from ssm4rec.ops.ssd import ssd_sequential

FLOATS = (torch.float32, torch.float16, torch.bfloat16)

calls: list[str] = []
"""The kernels called since ``make_believe`` began."""


class RefusedError(Exception):
    """A kernel's own check failed; names its file and line."""


def require(holds: bool, where: str) -> None:
    if not holds:
        raise RefusedError(where)


class _Checked(torch.autograd.Function):
    """A kernel: the checks of its backward pass come before our gradients."""

    @staticmethod
    def forward(ctx: Any, compute: Callable[..., Any], check_gradients: Callable[..., None], *tensors: Any) -> Any:
        ctx.compute, ctx.check = compute, check_gradients
        ctx.save_for_backward(*tensors)
        with torch.autocast("cpu", enabled=False):
            return compute(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        ctx.check(*gradients)
        floating = [tensor is not None and tensor.is_floating_point() for tensor in ctx.saved_tensors]
        leaves = [
            tensor.detach().requires_grad_() if real else tensor
            for tensor, real in zip(ctx.saved_tensors, floating, strict=True)
        ]
        with torch.enable_grad(), torch.autocast("cpu", enabled=False):
            outputs = ctx.compute(*leaves)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        wanted = [leaf for leaf, real in zip(leaves, floating, strict=True) if real]
        found = iter(torch.autograd.grad(outputs, wanted, gradients, allow_unused=True))
        return None, None, *(next(found) if real else None for real in floating)


# causal-conv1d: causal_conv1d/causal_conv1d_interface.py and csrc/causal_conv1d.cpp


def _is_channel_last(x: Tensor) -> bool:  # :176
    return x.stride(1) == 1 and x.stride(2) > 1


def check_convolution(
    x: Tensor, weight: Tensor, bias: Tensor | None, seq_idx: Tensor | None, initial_states: Tensor | None
) -> None:
    """causal_conv1d_fwd, csrc/causal_conv1d.cpp:149-258; the same checks are in causal_conv1d_bwd, :273-361."""
    at = "causal_conv1d.cpp"
    require(x.dtype in FLOATS, f"{at}:160: x of {x.dtype}")
    require(weight.dtype in FLOATS, f"{at}:161: weight of {weight.dtype}")
    batch, dim, seqlen = x.shape
    width = weight.shape[-1]
    require(weight.shape == (dim, width), f"{at}:173: weight {tuple(weight.shape)}")
    require(x.stride(2) == 1 or x.stride(1) == 1, f"{at}:175: strides {x.stride()}")
    last = _is_channel_last(x)
    if last:
        require(dim % 8 == 0, f"{at}:179: {dim} channels")
        require(x.stride(2) % 8 == 0 and x.stride(0) % 8 == 0, f"{at}:180: strides {x.stride()}")
    require(2 <= width <= 4, f"{at}:182: width {width}")
    if bias is not None:
        require(bias.dtype == weight.dtype, f"{at}:186: bias of {bias.dtype}, weight of {weight.dtype}")
        require(bias.stride(-1) == 1, f"{at}:188")
        require(bias.shape == (dim,), f"{at}:189")
    if seq_idx is not None:
        require(last, f"{at}:193: seq_idx with strides {x.stride()}")
        require(seq_idx.dtype == torch.int32, f"{at}:195")
        require(seq_idx.is_contiguous(), f"{at}:197")
        require(seq_idx.shape == (batch, seqlen), f"{at}:198")
    if initial_states is not None:
        require(last, f"{at}:213: initial_states with strides {x.stride()}")
        require(initial_states.dtype == x.dtype, f"{at}:215: initial_states of {initial_states.dtype}, x of {x.dtype}")
        require(initial_states.shape == (batch, dim, width - 1), f"{at}:217")
        require(initial_states.stride(1) == 1, f"{at}:218: strides {initial_states.stride()}")
        require(seq_idx is None, "causal_conv1d_fwd.cu: seq_idx and initial_states are not combined")


def check_convolution_gradient(x: Tensor, dout: Tensor) -> None:
    """causal_conv1d_interface.py:67 and causal_conv1d_bwd, csrc/causal_conv1d.cpp:293-327 (dx is empty_like(x))."""
    require(dout.shape == x.shape, "causal_conv1d.cpp:293")
    if dout.stride(2) != 1 and dout.stride(1) != 1:
        dout = dout.contiguous()
    last = _is_channel_last(x)
    if not last and dout.stride(2) != 1:
        dout = dout.contiguous()
    if last and dout.stride(1) != 1:
        dout = dout.transpose(-1, -2).contiguous().transpose(-1, -2)
    if last:
        fits = dout.stride(2) % 8 == 0 and dout.stride(0) % 8 == 0
        require(fits, f"causal_conv1d.cpp:303: dout of strides {dout.stride()}")
    dx = torch.empty_like(x)
    require(dx.stride(1 if last else 2) == 1, "causal_conv1d.cpp:326")


def _convolve(x: Tensor, weight: Tensor, bias: Tensor | None, seq_idx: Tensor | None, state: Tensor | None) -> Tensor:
    rows = x.float().transpose(1, 2)
    offsets = weight.new_zeros(len(weight)) if bias is None else bias
    before = None if state is None else state.float().transpose(1, 2)
    y, _ = causal_convolution_sequential(rows, weight.float(), offsets.float(), seq_idx, before)
    return y.transpose(1, 2)


def causal_conv1d_fn(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    seq_idx: Tensor | None = None,
    initial_states: Tensor | None = None,
    return_final_states: bool = False,
    final_states_out: Tensor | None = None,
    activation: str | None = None,
) -> Any:
    """causal_conv1d_interface.py:96."""
    calls.append("causal_conv1d_fn")
    assert not return_final_states
    assert final_states_out is None
    require(activation in (None, "silu", "swish"), "causal_conv1d_interface.py:22")
    if x.stride(2) != 1 and x.stride(1) != 1:
        x = x.contiguous()
    if initial_states is not None and initial_states.stride(2) != 1 and initial_states.stride(1) != 1:
        initial_states = initial_states.contiguous()
    check_convolution(x, weight, bias, seq_idx, initial_states)

    def compute(x: Tensor, weight: Tensor, bias: Tensor | None, seq_idx: Tensor | None, state: Tensor | None) -> Tensor:
        y = _convolve(x, weight, bias, seq_idx, state)
        return _laid_out_as(x, functional.silu(y) if activation else y)

    return _Checked.apply(
        compute, lambda dout: check_convolution_gradient(x, dout), x, weight, bias, seq_idx, initial_states
    )


def _laid_out_as(like: Tensor, values: Tensor) -> Tensor:
    """Return values as ``empty_like`` would hold them, differentiably."""
    empty = torch.empty_like(like.detach())
    shaped = values.to(like.dtype)
    if torch.is_grad_enabled() and values.requires_grad:
        return shaped
    return empty.copy_(shaped)


def causal_conv1d_update(
    x: Tensor, conv_state: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None
) -> Tensor:
    """causal_conv1d_interface.py:190; csrc/causal_conv1d.cpp:465-530."""
    calls.append("causal_conv1d_update")
    at, width = "causal_conv1d.cpp", weight.shape[-1]
    batch, dim, _ = x.shape
    require(x.dtype in FLOATS, f"{at}:477")
    require(weight.dtype in FLOATS, f"{at}:478")
    require(conv_state.dtype == x.dtype, f"{at}:479: conv_state of {conv_state.dtype}, x of {x.dtype}")
    require(conv_state.shape[2] >= width - 1, f"{at}:491")
    require(weight.shape == (dim, width), f"{at}:494")
    require(2 <= width <= 4, f"{at}:496: width {width}")
    if bias is not None:
        require(bias.dtype == weight.dtype and bias.stride(-1) == 1 and bias.shape == (dim,), f"{at}:500")
    require(conv_state.shape[:2] == (batch, dim), f"{at}:529")
    before = conv_state[..., 1 - width :].clone()
    conv_state.copy_(torch.cat([conv_state, x], dim=-1)[..., -conv_state.shape[-1] :])
    y = _convolve(x, weight, bias, None, before)
    return _laid_out_as(x, functional.silu(y) if activation else y)


# mamba-ssm: csrc/selective_scan/selective_scan.cpp and mamba_ssm/ops/selective_scan_interface.py


def _require_last(name: str, tensor: Tensor, line: int) -> None:
    fits = tensor.stride(-1) == 1 or tensor.shape[-1] == 1
    require(fits, f"selective_scan.cpp:{line}: {name} of strides {tensor.stride()}")


def selective_scan_fn(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, return_last_state: bool = False
) -> tuple[Tensor, Tensor]:
    """selective_scan_interface.py:106; selective_scan_fwd, csrc/selective_scan/selective_scan.cpp:226-336."""
    calls.append("selective_scan_fn")
    assert return_last_state
    u, delta, B, C = (t if t.stride(-1) == 1 else t.contiguous() for t in (u, delta, B, C))
    at = "selective_scan.cpp"
    batch, dim, seqlen = u.shape
    dstate = A.shape[1]
    require(u.dtype in FLOATS, f"{at}:235: u of {u.dtype}")
    require(A.dtype == torch.float32, f"{at}:236: A of {A.dtype}")
    for name, tensor, line in (("delta", delta, 242), ("B", B, 243), ("C", C, 244)):
        require(tensor.dtype == u.dtype, f"{at}:{line}: {name} of {tensor.dtype}, u of {u.dtype}")
    _require_last("u", u, 252)
    _require_last("delta", delta, 253)
    require(dstate <= 256, f"{at}:262: state {dstate}")
    require(delta.shape == (batch, dim, seqlen), f"{at}:265")
    require(A.shape == (dim, dstate), f"{at}:266")
    for name, tensor, line in (("B", B, 270), ("C", C, 276)):
        require(tensor.shape == (batch, dstate, seqlen), f"{at}:{line}: {name} {tuple(tensor.shape)}")
        _require_last(name, tensor, line + 1)

    def compute(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
        rows = (tensor.float().transpose(1, 2) for tensor in (u, delta))
        maps = (tensor.float().transpose(1, 2) for tensor in (B, C))
        y, state = selective_scan_sequential(*rows, A, *maps, None, None)
        return _laid_out_as(delta, y.transpose(1, 2)), state

    def check(dout: Tensor, _: Tensor) -> None:
        """selective_scan_interface.py:66; selective_scan_bwd, selective_scan.cpp:338-456 (what differs)."""
        dout = dout if dout.stride(-1) == 1 else dout.contiguous()
        require(dout.dtype == u.dtype, f"{at}:362: dout of {dout.dtype}")
        _require_last("dout", dout, 373)
        require(dout.shape == (batch, dim, seqlen), f"{at}:399")

    return _Checked.apply(compute, check, u, delta, A, B, C)  # type: ignore[no-any-return]


# mamba-ssm: mamba_ssm/ops/triton/ssd_combined.py


def mamba_chunk_scan_combined(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    seq_idx: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
) -> Any:
    """ssd_combined.py:624; _mamba_chunk_scan_combined_fwd, :343-370; _bwd, :396-432."""
    calls.append("mamba_chunk_scan_combined")
    assert z is None
    batch, seqlen, nheads, headdim = x.shape
    _, _, ngroups, dstate = B.shape
    at = "ssd_combined.py"
    for name, tensor in (("x", x), ("dt", dt), ("A", A), ("B", B), ("C", C)):
        require(tensor.dtype in FLOATS, f"Triton's tl.dot has no {tensor.dtype} ({name})")
    require(chunk_size >= 16 and chunk_size & (chunk_size - 1) == 0, f"ssd_bmm.py: chunk_size {chunk_size}")
    require(nheads % ngroups == 0, f"{at}:346")
    require(B.shape == (batch, seqlen, ngroups, dstate), f"{at}:347: B {tuple(B.shape)}")
    require(dt.shape == (batch, seqlen, nheads), f"{at}:349: dt {tuple(dt.shape)}")
    require(A.shape == (nheads,), f"{at}:350")
    require(C.shape == B.shape, f"{at}:351")
    require(D is None or D.shape in ((nheads, headdim), (nheads,)), f"{at}:355")
    require(dt_bias is None or dt_bias.shape == (nheads,), "ssd_chunk_state.py:722")
    require(seq_idx is None or seq_idx.shape == (batch, seqlen), f"{at}:357")
    require(initial_states is None or initial_states.shape == (batch, nheads, headdim, dstate), f"{at}:369")

    def compute(*tensors: Any) -> Any:
        x, dt, A, B, C, D, dt_bias, state, ids = tensors
        steps = dt.float() if dt_bias is None else dt.float() + dt_bias.float()
        steps = (functional.softplus(steps) if dt_softplus else steps).clamp(*dt_limit)
        assert ngroups == 1
        y, end = ssd_sequential(
            x.float(),
            steps,
            A.float(),
            B[:, :, 0].float(),
            C[:, :, 0].float(),
            ids,
            state if state is None else state.float(),
        )
        y = y if D is None else y + D.float().view(nheads, -1) * x.float()
        y = y.to(x.dtype).contiguous()
        return (y, end) if return_final_states else y

    def check(dout: Tensor, *_: Tensor) -> None:
        require(dout.shape == x.shape, f"{at}:405")

    return _Checked.apply(compute, check, x, dt, A, B, C, D, dt_bias, initial_states, seq_idx)


def _ensure_stride(inp: Tensor) -> Tensor:
    """ssd_combined.py:59."""
    require(inp.shape[2] % 8 == 0, f"ssd_combined.py:74: {inp.shape[2]} channels")
    return inp if inp.stride(1) % 8 == 0 else inp.contiguous()


def mamba_split_conv1d_scan_combined(
    zxbcdt: Tensor,
    conv1d_weight: Tensor,
    conv1d_bias: Tensor,
    dt_bias: Tensor,
    A: Tensor,
    D: Tensor,
    chunk_size: int,
    dt_limit: tuple[float, float] = (0.0, float("inf")),
    return_final_states: bool = False,
    activation: str = "silu",
    rmsnorm_weight: Tensor | None = None,
    rmsnorm_eps: float = 1e-6,
    outproj_weight: Tensor | None = None,
    outproj_bias: Tensor | None = None,
    headdim: int | None = None,
    ngroups: int = 1,
    norm_before_gate: bool = True,
) -> Tensor:
    """ssd_combined.py:968; MambaSplitConv1dScanCombinedFn, :815-963, as transformers calls it for one group."""
    calls.append("mamba_split_conv1d_scan_combined")
    assert rmsnorm_weight is not None
    assert outproj_weight is not None
    assert headdim is not None
    assert not return_final_states
    assert not norm_before_gate
    assert ngroups == 1
    (nheads,) = D.shape
    dim = nheads * headdim
    dstate = (conv1d_weight.shape[0] - dim) // 2
    sizes = [dim, dim + 2 * dstate, nheads]
    require(zxbcdt.shape[-1] == sum(sizes), "ssd_combined.py:834")
    require(dt_bias.shape == (nheads,) and A.shape == (nheads,), "ssd_combined.py:835")
    packed = _ensure_stride(zxbcdt.split(sizes, dim=-1)[1]).transpose(1, 2)
    check_convolution(packed, conv1d_weight, conv1d_bias, None, None)

    def compute(
        zxbcdt: Tensor, weight: Tensor, bias: Tensor, dt_bias: Tensor, A: Tensor, D: Tensor, norm: Tensor, out: Tensor
    ) -> Tensor:
        z, mixed, dt = zxbcdt.float().split(sizes, dim=-1)
        convolved = functional.silu(_convolve(mixed.transpose(1, 2), weight, bias, None, None)).transpose(1, 2)
        x, B, C = convolved.split([dim, dstate, dstate], dim=-1)
        x = x.unflatten(-1, (nheads, headdim))
        dt = functional.softplus(dt + dt_bias.float()).clamp(*dt_limit)
        y, _ = ssd_sequential(x, dt, A.float(), B, C, None, None)
        y = (y + D.float()[:, None] * x).flatten(2) * functional.silu(z)
        y = functional.rms_norm(y, (dim,), norm.float(), eps=rmsnorm_eps)
        return functional.linear(y, out.float()).to(out.dtype)

    def check(_: Tensor) -> None:
        """MambaSplitConv1dScanCombinedFn.backward: the convolution's backward on dxBC, :951."""
        inner = zxbcdt.split(sizes, dim=-1)[1]
        gradient = _ensure_stride(torch.empty_like(inner))
        check_convolution_gradient(packed, gradient.transpose(1, 2))

    assert outproj_bias is None
    return _Checked.apply(  # type: ignore[no-any-return]
        compute, check, zxbcdt, conv1d_weight, conv1d_bias, dt_bias, A, D, rmsnorm_weight, outproj_weight
    )


def selective_state_update(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
) -> Tensor:
    """mamba_ssm/ops/triton/selective_state_update.py:135-188."""
    calls.append("selective_state_update")
    at = "selective_state_update.py"
    assert z is None
    assert dt_softplus
    assert D is not None
    assert dt_bias is not None
    batch, nheads, dim, dstate = state.shape
    require(x.shape == (batch, nheads, dim), f"{at}:174")
    require(dt.shape == x.shape, f"{at}:175: dt {tuple(dt.shape)}")
    require(A.shape == (nheads, dim, dstate), f"{at}:176")
    require(B.shape == C.shape == (batch, 1, dstate), f"{at}:179")
    require(D.shape == dt_bias.shape == (nheads, dim), f"{at}:182")
    steps = functional.softplus(dt.float() + dt_bias.float())[..., None]
    decayed = state.float() * torch.exp(steps * A.float())
    state.copy_(decayed + steps * x.float()[..., None] * B.float()[:, :, None])
    return ((state.float() * C.float()[:, :, None]).sum(-1) + D.float() * x.float()).to(x.dtype)


MODULES: dict[str, Sequence[Callable[..., Any]]] = {
    "causal_conv1d": (causal_conv1d_fn, causal_conv1d_update),
    "mamba_ssm": (),
    "mamba_ssm.ops": (),
    "mamba_ssm.ops.selective_scan_interface": (selective_scan_fn,),
    "mamba_ssm.ops.triton": (),
    "mamba_ssm.ops.triton.ssd_combined": (mamba_chunk_scan_combined, mamba_split_conv1d_scan_combined),
    "mamba_ssm.ops.triton.selective_state_update": (selective_state_update,),
}


@contextmanager
def make_believe() -> Iterator[list[str]]:
    """Put the stand-ins in the packages' place, for tensors on a CPU; yield the names of the kernels called."""
    with pytest.MonkeyPatch.context() as patch:
        for name, functions in MODULES.items():
            module = ModuleType(name)
            for function in functions:
                setattr(module, function.__name__, function)
            patch.setitem(sys.modules, name, module)
            parent, _, child = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, module)
        patch.setattr(backend, "kind_of", lambda device: "cuda")
        backend._load.cache_clear()
        backend._log_once.cache_clear()
        calls.clear()
        try:
            yield calls
        finally:
            backend._load.cache_clear()
            backend._log_once.cache_clear()
            importlib.invalidate_caches()

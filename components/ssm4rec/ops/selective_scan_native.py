"""The selective scan, and with it the SSD, on a CPU in float32, by the library of native/selective_scan.c.

The library is compiled at installation; importing this module raises ImportError where there is none. Shapes: as in
``selective_scan.py``.
"""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ssm4rec.ops.selective_scan import segment_starts

_PATH: Final = Path(__file__).parent / "native" / "libselective_scan.so"
_INTERFACE: Final = 2
"""Of the functions in the library, as they are called here."""

try:
    _library = ctypes.CDLL(str(_PATH))
except OSError as error:
    raise ImportError(f"no compiled selective scan: {error}") from None

if getattr(_library, "selective_scan_interface", lambda: 1)() != _INTERFACE:
    raise ImportError(f"{_PATH}: compiled from another version of its source; install the package again")

_SIZES: Final = [ctypes.c_int64] * 7  # variant, threads, B, L, E, N, R
_library.selective_scan_variants.restype = ctypes.c_int
_library.selective_scan_variants.argtypes = []
_library.selective_scan_starts.restype = ctypes.c_int64
_library.selective_scan_starts.argtypes = [ctypes.c_int64] * 4
_library.selective_scan_forward.restype = ctypes.c_int
_library.selective_scan_forward.argtypes = [*_SIZES, *[ctypes.c_void_p] * 10]
_library.selective_scan_backward.restype = ctypes.c_int
_library.selective_scan_backward.argtypes = [*_SIZES, *[ctypes.c_void_p] * 15]

VARIANTS: Final[int] = _library.selective_scan_variants()
"""How many variants of the kernel this processor runs; the last one is the fastest."""


def selective_scan_native(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    b: Tensor,
    c: Tensor,
    segments: Tensor | None,
    initial_state: Tensor | None,
    variant: int = VARIANTS - 1,
) -> tuple[Tensor, Tensor]:
    """Evaluate the scan and its gradients; the same to the last bit on any number of threads.

    Args and returns: as ``selective_scan``, all of float32 on the CPU but ``segments``. A may be (E, 1), too: the same
    rate for all N numbers of a channel's state, at a fraction of the time. ``variant``, of the kernel, is below
    ``VARIANTS``. Raise MemoryError if there is no memory for the kernel's own arrays.
    """
    starts = None if segments is None else segment_starts(segments)
    outputs: tuple[Tensor, Tensor] = _SelectiveScan.apply(x, dt, A, b, c, starts, initial_state, variant)  # type: ignore[no-untyped-call]
    return outputs


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dt: Tensor,
        A: Tensor,
        b: Tensor,
        c: Tensor,
        segment_starts: Tensor | None,
        initial_state: Tensor | None,
        variant: int,
    ) -> tuple[Tensor, Tensor]:
        x, dt, A, b, c = (tensor.contiguous() for tensor in (x, dt, A, b, c))
        initial_state = None if initial_state is None else initial_state.contiguous()
        B, L, E = x.shape
        N = b.shape[2]
        ctx.sizes = (variant, torch.get_num_threads(), B, L, E, N, A.shape[1])
        starts = x.new_empty(_library.selective_scan_starts(B, L, E, N)) if any(ctx.needs_input_grad) else None
        y, state = torch.empty_like(x), x.new_empty(B, E, N)
        inputs = (x, dt, A, b, c, segment_starts)
        _call(_library.selective_scan_forward, ctx.sizes, *inputs, initial_state, y, state, starts)
        ctx.save_for_backward(*inputs, starts)
        ctx.set_materialize_grads(False)
        return y, state

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, y_gradient: Tensor | None, state_gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        *inputs, starts = ctx.saved_tensors
        x, dt, _, b, c, _ = inputs
        y_gradient = torch.zeros_like(x) if y_gradient is None else y_gradient.contiguous()
        state_gradient = None if state_gradient is None else state_gradient.contiguous()
        _, _, B, _, E, N, R = ctx.sizes
        of_rows, of_state = x.new_empty(B, E, R), x.new_empty(B, E, N)
        of_x, of_dt, of_b, of_c = (torch.empty_like(tensor) for tensor in (x, dt, b, c))
        slopes, gradients = (y_gradient, state_gradient), (of_x, of_dt, of_rows, of_b, of_c, of_state)
        _call(_library.selective_scan_backward, ctx.sizes, *inputs, starts, *slopes, *gradients)
        return of_x, of_dt, of_rows.sum(0), of_b, of_c, None, of_state if ctx.needs_input_grad[6] else None, None


def _call(function: Callable[..., int], sizes: tuple[int, ...], *tensors: Tensor | None) -> None:
    if function(*sizes, *(None if tensor is None else tensor.data_ptr() for tensor in tensors)) != 0:
        raise MemoryError("selective scan: no memory for the kernel's own arrays")

"""Which backend computes an operator: one choice for the process, made here, logged, and forced where asked.

Every operator has up to three backends with one result:

- ``sequential``: the definition, step by step; the oracle of the tests, for any device and dtype;
- ``torch``: fast, in plain torch operations, for any device;
- ``fused``: a compiled kernel: on CUDA those of mamba-ssm and causal-conv1d (the ``gpu`` extra), on a CPU our own for
  the selective scan and the SSD, compiled at installation where there is a C compiler.

``auto`` takes the fused backend where its library loads and takes such tensors, and torch otherwise.
"""

import importlib
import logging
from functools import cache
from types import ModuleType
from typing import Final, Literal, cast

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Backend = Literal["auto", "sequential", "torch", "fused"]

_FUSED: Final = {
    ("causal_convolution", "cuda"): "causal_conv1d",
    ("selective_scan", "cuda"): "mamba_ssm.ops.selective_scan_interface",
    ("ssd", "cuda"): "mamba_ssm.ops.triton.ssd_combined",
    ("selective_scan", "cpu"): "ssm4rec.ops.selective_scan_native",
    ("ssd", "cpu"): "ssm4rec.ops.selective_scan_native",
}
"""The module of each fused backend, imported when it is first wanted."""

KERNEL_TYPES: Final = (torch.float32, torch.float16, torch.bfloat16)
"""What the CUDA kernels compute in."""

Computes = Literal["sequential", "torch", "cuda_kernel", "cpu_kernel"]
"""A backend that computes: the fused one has another kernel on every kind of device."""

_backend: Backend = "auto"


class MissingKernelError(RuntimeError):
    """The fused backend was asked for and its library is not there, or does not take these tensors."""


def choose_backend(backend: Backend, device: torch.device) -> None:
    """Choose the backend of every operator from now on.

    Raises:
        MissingKernelError: ``fused``, and a fused backend of this device does not load; says what is missing.
    """
    global _backend
    if backend == "fused":
        for operator, kind in _FUSED:
            if kind == kind_of(device) and isinstance(reason := _load(operator, kind), str):
                raise MissingKernelError(
                    f"no fused {operator} for {kind} here ({reason}); "
                    + ("install the gpu extra" if kind == "cuda" else "install again with a C compiler")
                    + ", or choose auto or torch"
                )
    _backend = backend


def kind_of(device: torch.device) -> str:
    """Return whose kernels compute on a device: ``cpu`` or ``cuda``."""
    return device.type


def backend_of(operator: str, device: torch.device) -> Computes:
    """Return the backend that computes ``operator`` on ``device``: never ``auto``."""
    if _backend in ("sequential", "torch"):
        return "sequential" if _backend == "sequential" else "torch"
    kind = kind_of(device)
    if isinstance(_load(operator, kind), str):
        return "torch"
    return "cuda_kernel" if kind == "cuda" else "cpu_kernel"


def accepted(operator: str, beyond: str) -> bool:
    """Return whether the kernel of an operator takes the tensors at hand; if not, that is logged once.

    ``beyond`` says in words what of them it does not take; empty: it takes them. Raise MissingKernelError if it does
    not, and ``fused`` was asked for.
    """
    if not beyond:
        return True
    if _backend == "fused":
        raise MissingKernelError(f"the fused {operator} does not take {beyond}; choose auto or torch")
    _log_once(f"{operator}: torch operations (its kernel does not take {beyond})")
    return False


def other_types(**tensors: Tensor | None) -> str:
    """Return in words which tensors have a type that no CUDA kernel computes in; empty: none."""
    wrong = (
        f"{name} of {tensor.dtype}"
        for name, tensor in tensors.items()
        if tensor is not None and tensor.dtype not in KERNEL_TYPES
    )
    return ", ".join(wrong)


@cache
def _log_once(message: str) -> None:
    logger.info(message)


def fused_module(operator: str, device: torch.device) -> ModuleType:
    """Return the library of the fused backend; ``backend_of`` said that it computes."""
    return cast("ModuleType", _load(operator, kind_of(device)))


def kernels(kind: str) -> dict[str, str]:
    """Return, for each operator with a fused backend on ``cpu`` or ``cuda``, the library found or why there is none."""
    found = {}
    for operator, its_kind in _FUSED:
        if its_kind == kind:
            module = _load(operator, kind)
            found[operator] = f"none ({module})" if isinstance(module, str) else module.__name__
    return found


def has_kernel(operator: str, kind: str) -> bool:
    """Return whether there is a fused backend of ``operator`` on ``cpu`` or ``cuda``."""
    return isinstance(_load(operator, kind), ModuleType)


@cache
def _load(operator: str, kind: str) -> ModuleType | str:
    """Return the module of the fused backend, or why there is none; logged once."""
    name = _FUSED.get((operator, kind))
    if name is None:
        return "there is none"
    try:
        module = importlib.import_module(name)
    except (ImportError, OSError) as error:
        logger.info("%s on %s: torch operations (%s)", operator, kind, error)
        return str(error)
    logger.info("%s on %s: the kernel of %s", operator, kind, name.split(".", maxsplit=1)[0])
    return module

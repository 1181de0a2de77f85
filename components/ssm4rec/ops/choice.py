"""Which form of an operator computes: one choice for the process, made here, logged, and forced where asked.

Every operator has up to three forms with one result:

- ``sequential``: the definition, step by step; the oracle of the tests, for any device and dtype;
- ``torch``: the fast form in plain torch operations, for any device;
- ``fused``: a compiled kernel: on CUDA those of mamba-ssm and causal-conv1d (the ``gpu`` extra), on a CPU our own for
  the selective scan and the SSD, compiled at installation where there is a C compiler.

``auto`` takes the fused form where its library loads and the torch form otherwise.
"""

import importlib
import logging
from functools import cache
from types import ModuleType
from typing import Final, Literal, get_args

import torch

logger = logging.getLogger(__name__)

Form = Literal["auto", "sequential", "torch", "fused"]
FORMS: Final[tuple[str, ...]] = get_args(Form)

_FUSED: Final = {
    ("causal_convolution", "cuda"): "causal_conv1d",
    ("selective_scan", "cuda"): "mamba_ssm.ops.selective_scan_interface",
    ("ssd", "cuda"): "mamba_ssm.ops.triton.ssd_combined",
    ("selective_scan", "cpu"): "ssm4rec.ops.selective_scan_native",
    ("ssd", "cpu"): "ssm4rec.ops.selective_scan_native",
}
"""The module of each fused form, imported when it is first wanted."""

_form: Form = "auto"


class MissingKernelError(RuntimeError):
    """The fused form was asked for and its library is not there."""


def choose_form(form: Form, device: torch.device) -> None:
    """Choose the form of every operator from now on.

    Raises:
        MissingKernelError: ``fused``, and a fused form of this device does not load; says what is missing.
    """
    global _form
    if form == "fused":
        for operator, kind in _FUSED:
            if kind == device.type and isinstance(reason := _load(operator, kind), str):
                raise MissingKernelError(
                    f"no fused {operator} for {kind} here ({reason}); "
                    + ("install the gpu extra" if kind == "cuda" else "install again with a C compiler")
                    + ", or choose auto or torch"
                )
    _form = form


def form_of(operator: str, device: torch.device) -> Literal["sequential", "torch", "fused"]:
    """Return the form that computes ``operator`` on ``device``: never ``auto``."""
    if _form in ("sequential", "torch"):
        return "sequential" if _form == "sequential" else "torch"
    return "fused" if isinstance(_load(operator, device.type), ModuleType) else "torch"


def fused_module(operator: str, device: torch.device) -> ModuleType:
    """Return the library of the fused form; ``form_of`` said ``fused``."""
    module = _load(operator, device.type)
    if isinstance(module, str):
        raise MissingKernelError(f"no fused {operator} for {device.type} here ({module})")
    return module


def kernels(kind: str) -> dict[str, str]:
    """Return, for each operator with a fused form on ``cpu`` or ``cuda``, the library found or why there is none."""
    found = {}
    for operator, its_kind in _FUSED:
        if its_kind == kind:
            module = _load(operator, kind)
            found[operator] = f"none ({module})" if isinstance(module, str) else module.__name__
    return found


@cache
def _load(operator: str, kind: str) -> ModuleType | str:
    """Return the module of the fused form, or why there is none; logged once."""
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

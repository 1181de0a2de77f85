"""Where a stage computes, and with which kernels."""

import ctypes
from typing import Final, cast

import torch

from ssm4rec.errors import InputError
from ssm4rec.ops.choice import FORMS, Form, MissingKernelError, choose_form

DEVICES: Final = ("auto", "cpu", "cuda")

_TRIM_THRESHOLD: Final = -1  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
_MMAP_THRESHOLD: Final = -3
_MOST_FREE_BYTES: Final = 2**31 - 1
_LARGEST_KEPT_BYTES: Final = 2**30


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``; on a CPU, keep freed memory.

    Raises:
        InputError: the name is unknown, or ``cuda`` was asked for and is not there.
    """
    match name:
        case "auto":
            return choose_device("cuda" if torch.cuda.is_available() else "cpu")
        case "cpu":
            _keep_freed_memory()
            return torch.device("cpu")
        case "cuda" if torch.cuda.is_available():
            return torch.device("cuda")
        case "cuda":
            raise InputError("--device cuda: this machine or this build of torch has none; use --device auto")
        case _:
            raise InputError(f"--device {name}: unknown; choose from {', '.join(DEVICES)}")


def _keep_freed_memory() -> None:
    """Keep freed tensors' memory in the process, for the next ones.

    glibc gives blocks over 32 MB back to the kernel, which clears every page of the next one: a third of the time of
    Hydra4Rec's forward for 64 users (RESULTS.md). Another C library is left as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return
    mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
    mallopt(_TRIM_THRESHOLD, _MOST_FREE_BYTES)


def choose_kernels(name: str, device: torch.device) -> None:
    """Choose the form of all operators, one of ``ops.choice.FORMS``.

    Raises:
        InputError: the name is unknown, or ``fused`` was asked for and a kernel is missing.
    """
    if name not in FORMS:
        raise InputError(f"--kernels {name}: unknown; choose from {', '.join(FORMS)}")
    try:
        choose_form(cast("Form", name), device)
    except MissingKernelError as error:
        raise InputError(f"--kernels {name}: {error}") from None

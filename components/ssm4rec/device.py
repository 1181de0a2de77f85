"""Where a stage computes, and with which kernels."""

from typing import cast

import torch

from ssm4rec.errors import InputError
from ssm4rec.ops.choice import FORMS, Form, MissingKernelError, choose_form


def choose_device(name: str) -> torch.device:
    """Return the device for ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    Raises:
        InputError: the name is unknown, or ``cuda`` was asked for and is not there.
    """
    match name:
        case "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        case "cpu":
            return torch.device("cpu")
        case "cuda" if torch.cuda.is_available():
            return torch.device("cuda")
        case "cuda":
            raise InputError("--device cuda: this machine or this build of torch has none; use --device auto")
        case _:
            raise InputError(f"--device {name}: unknown; choose from auto, cpu, cuda")


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

"""Where a stage computes."""

import torch

from ssm4rec.errors import InputError


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

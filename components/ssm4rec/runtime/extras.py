"""Packages that few flags need: that one is missing is said before anything begins."""

from enum import Enum
from importlib.util import find_spec

from ssm4rec.runtime.errors import InputError


class Extra(Enum):
    """A package: its module, what it is called, and what pip is told."""

    RAY = ("ray", "Ray", "'ssm4rec[ray]'")
    USEARCH = ("usearch", "usearch", "usearch")


def check_installed(extra: Extra, asked: str, way_out: str) -> None:
    """Raise InputError if a package is not installed; ``asked`` is what needs it, ``way_out`` how to do without."""
    module, name, requirement = extra.value
    if find_spec(module) is None:
        raise InputError(f"{asked}: {name} is not installed; install it (pip install {requirement}), or {way_out}")

"""Checks of settings' fields."""

from collections.abc import Callable, Sequence
from typing import Any


def check_fields(settings: object, names: Sequence[str], allowed: Callable[[Any], bool], rule: str) -> None:
    """Raise ValueError if a field of some settings has a value that is not allowed; the rule says which are."""
    for name in names:
        if not allowed(getattr(settings, name)):
            raise ValueError(f"{name} {rule}")

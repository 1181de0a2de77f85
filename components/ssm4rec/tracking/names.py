"""What MLflow takes as names and values (3.17.2, mlflow/utils/validation.py:66-92): others are changed or cut."""

import re
from collections.abc import Iterator
from typing import Any, Final

from ssm4rec import __version__
from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.images import revision

RECIPE: Final = "with"
"""How the parameters of a recipe begin, ``with.training.epochs``. MLflow's pages list parameters by name, and its
compare page draws the first three that differ: model, seed and splitting come before this."""

LONGEST_NAME: Final = 250
LONGEST_SETTING: Final = 6000
LONGEST_TAG: Final = 8000
LONGEST_SOURCE: Final = 65535


def mlflow_name(name: str) -> str:
    """Return a name that MLflow takes (3.17.2, mlflow/utils/validation.py:329)."""
    return re.sub(r"[^/\w.\- :]", "_", name.replace("@", "_at_"))[:LONGEST_NAME]


def cut(text: str, longest: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def run_tags(tags: dict[str, str]) -> dict[str, str]:
    """Return tags, and with what code the run computes, as MLflow takes them and without secrets."""
    named = {**tags, "version": __version__, "commit": revision()}
    return {mlflow_name(name): cut(public_text(value), LONGEST_TAG) for name, value in named.items()}


def dotted(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested settings with dotted names."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value

"""The studies, a folder each.

``plan.py`` says what is trained (``Settings``), ``study.py`` reads the files that became of it (``Files``,
``read_study``), ``report.py`` says what they show (``make_report``). Their pipelines are in ``pipelines/``.
"""

from importlib import import_module
from typing import Any, Final

STUDIES: Final = ("comparative", "optimizers", "adapters", "orpo", "long-histories", "reproduction", "scaling")
"""By the names that command lines know them by."""


def module_of(study: str, part: str) -> Any:
    """Return a module of a study: its ``plan``, ``study`` or ``report``."""
    return import_module(f"ssm4rec.studies.{study.replace('-', '_')}.{part}")

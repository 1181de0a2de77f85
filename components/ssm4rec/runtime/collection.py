"""Keeps Python's garbage collector off what libraries leave in memory, as mypy and others do for a quick start.

torch, transformers and MLflow make some hundred thousand objects that live as long as the process. The collector visits
them many times while they are imported, and once more at the end of the process: 2 of the 6 CPU-seconds of a
training on tiny data (CPython 3.11, torch 2.13).
"""

import atexit
import gc
import sys


def import_uncollected() -> None:
    """Keep the collector from ``python -m PACKAGE.PROGRAM`` until :func:`collect_from_here`, and at its end.

    As ``signals.end_while_imported``, a package of programs calls it when it is imported; elsewhere nothing happens.
    """
    if sys.argv[:1] == ["-m"]:
        gc.disable()
        atexit.register(gc.freeze)


def collect_from_here() -> None:
    """Let the collector run again, but for what has been imported."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()

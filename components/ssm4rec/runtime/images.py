"""The one place of image names.

Registry and accelerator are chosen when a pipeline is compiled: ``compile_variables.py``.
"""

import functools
import os
import subprocess
from pathlib import Path
from typing import Final

from ssm4rec import __version__
from ssm4rec.runtime import compile_variables

ROLES: Final = ("cpu", "train", "llm", "serve")
"""An image each, and a folder in ``images/``: stages that need no GPU, recommenders and language models on CUDA, and
what serves a recommender."""

ACCELERATOR: Final = compile_variables.ACCELERATOR.value
DEVICE_VARIABLE: Final = "SSM4REC_DEVICE"
"""What a stage's ``--device auto`` means: set to ``cuda`` for every task that a cluster gives a GPU."""
COMMAND_VARIABLE: Final = "SSM4REC_COMMAND"
"""What a study was started with, for its report to say."""
_COMPILED: Final = ":(top,exclude)pipelines/compiled"
_REGISTRY: Final = compile_variables.REGISTRY.value.rstrip("/")


def repository(role: str) -> str:
    """Return the name of a role's image without a tag."""
    return f"{_REGISTRY}/ssm4rec-{role}" if _REGISTRY else f"ssm4rec-{role}"


@functools.cache
def revision() -> str:
    """Return the commit that is checked out, with ``-dirty`` where files differ from it, or ``unknown``.

    In an image it is the one that the image was built from. Compiled pipelines are left out: no image holds one, and a
    compilation for a registry, which changes them, must not rename the images of the next.
    """
    if built_from := os.environ.get("SSM4REC_REVISION"):
        return built_from
    try:
        commit, changes = (
            subprocess.check_output(
                ["git", *command], cwd=Path(__file__).parent, text=True, stderr=subprocess.DEVNULL
            ).strip()
            for command in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--", ":(top)", _COMPILED))
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changes else commit


def image(role: str) -> str:
    """Return the full name of a role's image, tagged with this package's version; in a registry also with the commit.

    KFP takes a task's result from an earlier run if the image has the same name, whatever was pushed under it since
    (kubeflow/pipelines 2.17.0, backend/src/v2/cacheutils/cache.go:173).
    """
    return f"{repository(role)}:{__version__}" + (f"-{revision()}" if _REGISTRY else "")


CPU_IMAGE: Final = image("cpu")
TRAIN_IMAGE: Final = image("cpu" if ACCELERATOR == "cpu" else "train")
LLM_IMAGE: Final = image("llm")
IMAGES: Final = {"cpu": CPU_IMAGE, "train": TRAIN_IMAGE, "llm": LLM_IMAGE}
"""By the role of ``ROLES``; with ``ACCELERATOR=cpu`` recommenders train in the CPU image."""

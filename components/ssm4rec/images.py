"""The one place of image names.

Two choices are made when a pipeline is compiled, by environment variables (``make compile REGISTRY=… ACCELERATOR=…``):

- ``SSM4REC_REGISTRY``: where the images are pulled from, such as ``registry.example.org/team``;
- ``SSM4REC_ACCELERATOR``: ``cuda`` (the default), or ``cpu`` for a cluster or an engine without GPUs, where the CPU
  image trains, too.
"""

import os
from typing import Final

from ssm4rec import __version__

ROLES: Final = ("cpu", "train", "llm")
"""An image each, and a folder in ``images/``: stages that need no GPU, recommenders and language models on CUDA."""

ACCELERATOR: Final = os.environ.get("SSM4REC_ACCELERATOR") or "cuda"
DEVICE_VARIABLE: Final = "SSM4REC_DEVICE"
"""What a stage's ``--device auto`` means: set to ``cuda`` for every task that a cluster gives a GPU."""
_REGISTRY: Final = os.environ.get("SSM4REC_REGISTRY", "").rstrip("/")


def image(role: str) -> str:
    """Return the full name of a role's image, tagged with this package's version."""
    name = f"ssm4rec-{role}:{__version__}"
    return f"{_REGISTRY}/{name}" if _REGISTRY else name


CPU_IMAGE: Final = image("cpu")
TRAIN_IMAGE: Final = image("cpu" if ACCELERATOR == "cpu" else "train")
LLM_IMAGE: Final = image("llm")

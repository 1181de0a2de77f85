"""The one place of image names.

A registry is chosen when a pipeline is compiled: ``SSM4REC_REGISTRY=registry.example.org/team make compile``.
"""

import os
from typing import Final

from ssm4rec import __version__

_REGISTRY = os.environ.get("SSM4REC_REGISTRY", "")
_PREFIX = f"{_REGISTRY.rstrip('/')}/" if _REGISTRY else ""

DATA_IMAGE: Final = f"{_PREFIX}ssm4rec-data:{__version__}"
TRAIN_IMAGE: Final = f"{_PREFIX}ssm4rec-train:{__version__}"

"""The compiled file of a pipeline: the committed one, or one compiled for other images, accelerators or volumes.

Apart from ``compile.py``, which builds every pipeline when it is imported: that takes seconds, and a study that is told
something wrong can say so without.
"""

import os
from pathlib import Path
from typing import Final

import ssm4rec.stages

COMPILED: Final = Path(__file__).parent / "compiled"
STAGES: Final = tuple(sorted(path.parent.name for path in Path(ssm4rec.stages.__path__[0]).glob("*/component.py")))
"""Every stage, by the name of its folder, which is that of its component."""
SETTINGS: Final = ("SSM4REC_REGISTRY", "SSM4REC_ACCELERATOR", "SSM4REC_VOLUME", "SSM4REC_AT_ONCE")
"""What a compilation can be told in addition to its source: see ``ssm4rec/runtime/images.py`` and ``hardware.py``."""


def compiled_package(name: str, folder: Path) -> Path:
    """Return the committed file of a pipeline; compiled into ``folder`` where this process chose other images."""
    if not any(os.environ.get(variable) for variable in SETTINGS):
        return COMPILED / f"{name}.yaml"
    from pipelines.compile import compile_package

    return compile_package(name, folder)

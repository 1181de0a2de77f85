"""Compiles the CPU kernel whenever hatchling installs the package or builds its wheel.

Named in pyproject.toml as a build hook. Without a working C compiler the package has no kernel and computes in torch
operations (ssm4rec/ops/backend.py); the build goes on with a warning, which `pip install -v` shows.
"""

import os
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FOLDER = Path("components/ssm4rec/ops/native")
SOURCE = FOLDER / "selective_scan.c"
LIBRARY = FOLDER / "libselective_scan.so"

FLAGS = [
    "-std=gnu11",  # c11 would forbid fused multiply-add
    "-O3",
    "-fno-trapping-math",  # or comparisons keep gcc from vectorizing
    "-fopenmp-simd",  # sums over lanes in any order; needs no OpenMP library
    "-fPIC",
    "-shared",
    "-pthread",
]
"""No -march: the kernel holds a variant for each kind of processor and chooses among them when it runs."""


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Leaves the library beside its source; a wheel with it is one for this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile before hatchling collects the files."""
        problem = compile_library(Path(self.root))
        if problem is not None:
            self.app.display_warning(f"no CPU kernel for the scans, torch operations instead: {problem}")
            return
        build_data["artifacts"].append(f"/{LIBRARY.as_posix()}")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compile_library(root: Path) -> str | None:
    """Compile ``SOURCE`` into ``LIBRARY``; return what is wrong, or None."""
    library = root / LIBRARY
    partial = library.with_suffix(f".{os.getpid()}.partial")
    try:
        library.unlink(missing_ok=True)  # one of an older source must not stay
        compiler = shlex.split(os.environ.get("CC", "")) or [_compiler()]
        result = subprocess.run(
            [*compiler, *FLAGS, "-o", str(partial), str(root / SOURCE)], capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            return f"{shlex.join(compiler)} exited with {result.returncode}: {result.stderr.strip()[-500:]}"
        partial.replace(library)  # at once: never a half-written library
    except OSError as error:
        return str(error)
    finally:
        partial.unlink(missing_ok=True)
    return None


def _compiler() -> str:
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return found
    raise FileNotFoundError("no cc, gcc or clang on PATH, and CC is not set")

"""Compile every pipeline to pipelines/compiled/: ``python -m pipelines.compile`` (``make compile``).

The compiled files are committed: they are what the KFP UI takes, and a change to them shows in review.
"""

import argparse
from pathlib import Path
from typing import Any, Final

from kfp import compiler

from pipelines.comparative_study import comparative_study

COMPILED: Final = Path(__file__).parent / "compiled"
PIPELINES: Final[dict[str, Any]] = {"comparative_study": comparative_study}


def compile_all(folder: Path) -> list[Path]:
    """Compile every pipeline into ``folder`` and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pipeline in PIPELINES.items():
        path = folder / f"{name}.yaml"
        compiler.Compiler().compile(pipeline, str(path))
        paths.append(path)
    return paths


def main() -> None:
    """Compile from the command line."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.compile", description="Compile the pipelines to YAML.")
    parser.add_argument("--folder", type=Path, default=COMPILED, help="where to write the YAML files")
    for path in compile_all(parser.parse_args().folder):
        print(f"compiled {path}")


if __name__ == "__main__":
    main()

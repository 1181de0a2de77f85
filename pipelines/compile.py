"""Compile every pipeline to pipelines/compiled/: ``python -m pipelines.compile`` (``make compile``).

The compiled files are committed: they are what the KFP UI takes, and a change to them shows in review.
"""

import argparse
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from kfp import compiler

from pipelines.make_names import write_make_names
from pipelines.packages import COMPILED, PACKAGES
from pipelines.picture import write_pictures
from pipelines.studies import PLANS
from ssm4rec.runtime.compile_variables import check_compile_variables
from ssm4rec.settings.command_line import StageParser, run_stage

_HEADER: Final = "# Compiled by `make compile` from pipelines/*.py: change those, not this file."
PIPELINES: Final = (
    *PACKAGES, "optimizer_study", "orpo_study", "adapter_study", "long_history_study", "reproduction_study",
    "scaling_study",
)  # fmt: skip
"""Every package; those of other studies than the comparative one are named after their module and pipeline."""


def compile_all(folder: Path) -> list[Path]:
    """Compile every pipeline into ``folder``, with a picture and the parameters of each, and return the YAML files."""
    paths = [compile_package(name, folder) for name in PIPELINES]
    whole = {plan.PACKAGE for plan in PLANS.values()}  # without packages that lack some of a study's parts
    write_pictures(folder, [path for path in paths if path.stem in whole], paths)
    write_make_names(folder)
    return paths


def compile_package(name: str, folder: Path) -> Path:
    """Compile one package into ``folder`` and return its file; raise InputError if it is told what is not allowed."""
    check_compile_variables()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    compiler.Compiler().compile(_pipeline(name), str(path))
    # kfp's own header prints dictionaries in an order that changes from run to run.
    body = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    path.write_text("\n".join([_HEADER, *body]) + "\n", encoding="utf-8")
    return path


def _pipeline(package: str) -> Any:
    if package in PACKAGES:
        return import_module("pipelines.comparative_study").comparative_study(package)
    return getattr(import_module(f"pipelines.{package}"), package)


def run(options: argparse.Namespace) -> None:
    """Compile all and say where they are."""
    for path in compile_all(options.folder):
        print(f"compiled {path}")


def main() -> None:
    """Compile from the command line."""
    parser = StageParser("pipelines.compile", "Compile the pipelines to YAML.")
    parser.add_argument("--folder", type=Path, default=COMPILED, help="where to write the YAML files")
    run_stage(parser, run)


if __name__ == "__main__":
    main()

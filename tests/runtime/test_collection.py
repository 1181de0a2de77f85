"""What the collector does while a program is imported, while it runs and at its end."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssm4rec.runtime.collection import import_uncollected
from ssm4rec.settings.command_line import StageParser, run_stage

PACKAGE = """
import atexit, gc
from ssm4rec.runtime.collection import import_uncollected
kept = []
atexit.register(lambda: print("visited at the end:", any(one is kept[0] for one in gc.get_objects())))
import_uncollected()
"""
PROGRAM = """
import gc
from ssm4rec.runtime.collection import collect_from_here
from programs import kept
print("collects:", gc.isenabled())
collect_from_here()
print("collects:", gc.isenabled(), "visits what was imported:", any(one is kept for one in gc.get_objects()))
kept.append([])  # one that comes later
"""


def test_a_program_collects_only_what_it_makes_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs/__init__.py").write_text(PACKAGE)
    (tmp_path / "programs/program.py").write_text(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-m", "programs.program"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "collects: False",
        "collects: True visits what was imported: False",
        "visited at the end: False",
    ]


def test_another_process_is_left_alone() -> None:
    import_uncollected()
    assert gc.isenabled()


@pytest.mark.parametrize("package", ["ssm4rec.stages", "pipelines"])
def test_packages_of_programs_are_imported_uncollected(package: str) -> None:
    code = f"import gc, sys; sys.argv = ['-m']; import {package}; sys.exit(gc.isenabled())"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_stage_runs_with_the_collector() -> None:
    collects: list[bool] = []
    gc.disable()
    try:
        run_stage(StageParser("ssm4rec.stages.none", "Nothing."), lambda _: collects.append(gc.isenabled()), [])
    finally:
        gc.enable()
    assert collects == [True]

"""Runs one damaged case in this process and says what is wrong with how the stage ended."""

import contextlib
import io
import logging
import random
import re
import shutil
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import pyarrow
import pyarrow.parquet

from tests.fuzz.mutations import copy, mutate
from tests.fuzz.targets import Target, call, finite_json, placed

LONGEST = 60
"""Seconds; a longer case has hung."""


@dataclass(frozen=True)
class Outcome:
    """How a case ended.

    Attributes:
        case: target, seed, victim and what was done to it.
        status: of the process it would have been.
        fault: what is wrong; empty where all is right.
        text: what it wrote to stderr.
    """

    case: str
    status: int
    fault: str
    text: str


def run_case(target: Target, seed: int, study: Path, folder: Path) -> Outcome:
    """Copy a target's inputs below ``folder``, damage one, call the stage and look at what it left."""
    shutil.rmtree(folder, ignore_errors=True)
    inputs, outputs = folder / "in", folder / "out"
    for name in target.inputs():
        copy(study / name, inputs / name)
    chance = random.Random(f"{target.name} {seed}")
    victim = chance.choice(target.victims)
    done = mutate(inputs / victim, chance)
    case = f"{target.name} {seed} {victim} {done}"
    arguments = [
        text.replace("CHECKPOINTS", str(folder / "checkpoints")) for text in placed(target.arguments, inputs, outputs)
    ]
    status, text = run_stage_here(target.stage, arguments)
    return Outcome(case, status, fault_of(status, text, outputs), text)


def run_stage_here(stage: str, arguments: list[str]) -> tuple[int, str]:
    """Call a stage as its process would; return the exit status and stderr."""
    written = io.StringIO()
    with _as_in_a_process(written):
        try:
            with _limited(LONGEST):
                call(stage, arguments)
            status = 0
        except SystemExit as ended:
            status = int(ended.code or 0)
        except BaseException:
            traceback.print_exc()
            status = 1
    return status, written.getvalue()


def fault_of(status: int, text: str, outputs: Path) -> str:
    """Return what is wrong with an ending, or nothing."""
    left = [path for path in sorted(outputs.rglob("*")) if path.is_file()] if outputs.exists() else []
    if "Traceback (most recent call last)" in text:
        return "traceback: " + text.strip().splitlines()[-1][:200]
    if status == 2:
        lines = [line for line in text.splitlines() if ": error: " in line]
        if len(lines) != 1:
            return f"{len(lines)} error lines"
        if text.splitlines()[-1] != lines[0]:
            return "the error is more than one line"
        if len(lines[0]) > 2000:
            return f"the error line has {len(lines[0])} characters"
        if not lines[0].isprintable():
            return "the error line is not printable"
        return f"left {left[0].name}" if left else ""
    if status:
        return f"exit status {status}"
    return next((f"{path.name}: {wrong}" for path in left if (wrong := _wrong_numbers(path))), "")


def _wrong_numbers(path: Path) -> str:
    """Return what is not finite in a written file, or nothing."""
    start = path.read_bytes()[:4]
    if ".partial-" in path.name:
        return "a partial file"
    if start == b"PAR1":
        table = pyarrow.parquet.read_table(path)
        return next((f"{name} not finite" for name in table.column_names if not _finite(table.column(name))), "")
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        found = load_file(path)
        return next((f"{name} not finite" for name, values in found.items() if not numpy.isfinite(values).all()), "")
    if start[:1] in (b"{", b"[") and not finite_json(path):
        return "not finite JSON"
    if path.suffix == ".md" and re.search(r"(?<![\w/.-])(nan|inf|NaN|Infinity)(?![\w/.-])", path.read_text()):
        return "says nan"
    return ""


def _finite(column: pyarrow.ChunkedArray) -> bool:
    kind = column.type
    while pyarrow.types.is_list(kind):
        column, kind = pyarrow.compute.list_flatten(column), kind.value_type
    if not pyarrow.types.is_floating(kind):
        return True
    values: Any = column.drop_null().to_numpy()
    return bool(numpy.isfinite(values).all())


@contextlib.contextmanager
def _as_in_a_process(written: io.StringIO) -> Iterator[None]:
    """Send stderr, log lines and warnings where the case's own process would send them."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers[:] = []
    try:
        with (
            contextlib.redirect_stderr(written),
            contextlib.redirect_stdout(io.StringIO()),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:], root.level = handlers, level


@contextlib.contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> None:
    """Run cases by hand: ``python -m tests.fuzz.running STUDY SCRATCH TARGET FIRST COUNT``."""
    from tests.fuzz.preparing import PREPARE
    from tests.fuzz.targets import TARGETS

    study, scratch, name, first, count = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:6]
    (target,) = [one for one in (*TARGETS, *PREPARE) if one.name == name]
    failed = accepted = 0
    for seed in range(int(first), int(first) + int(count)):
        outcome = run_case(target, seed, study, scratch)
        accepted += outcome.status == 0
        if outcome.fault:
            failed += 1
            print(f"{outcome.case}: {outcome.fault}", flush=True)
            if int(count) == 1:
                print(outcome.text)
        elif int(count) == 1:
            print(outcome.case, outcome.status, outcome.text)
    print(f"{name}: {failed} of {count} failed, {accepted} accepted")


if __name__ == "__main__":
    main()

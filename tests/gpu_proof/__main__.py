"""What only a GPU can show, in one command: ``make gpu-proof`` (PARTS=, OUT=, MINUTES=, SOURCE=, DEVICE=).

Each part is a process of its own, ended after MINUTES: OUT/PART.json is what it found, OUT/PART.log what it printed.
After every part OUT/gpu-proof.json has all of them. A part that fails or runs out of time is recorded as such, and the
next one runs. The same command resumes: what finished at the same commit, with the same source, is not run again.
DEVICE=cpu rehearses everything in small.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ssm4rec import __version__
from ssm4rec.models.table import MODELS
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import held_by_this_process, read_json, write_json
from ssm4rec.runtime.signals import child_variables, ending_children
from ssm4rec.settings.command_line import StageParser, names, number, run_stage

PARTS: Final = ("machine", "tests", *MODELS, "llamarec", "latency")
"""In order of value, but for latency, which needs the recommenders."""
ROOT: Final = Path(__file__).parents[2]
_SECONDS_TO_END: Final = 10
"""Between SIGTERM and SIGKILL."""
_SHARE: Final = 0.85
"""Of its minutes that a part plans with: the rest is for what takes longer than expected."""


def build_parser() -> StageParser:
    """Return the command line."""
    parser = StageParser("tests.gpu_proof", "Run what only a GPU can show, and write it into one JSON file.")
    parser.add_argument("--parts", type=names(PARTS), default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu-proof"), help="folder; the same one resumes")
    parser.add_argument("--minutes", type=number, default=9, help="that each part has")
    parser.add_argument("--source", default="", help="archive of MovieLens-1M; empty: generated events of its size")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu: a rehearsal in small")
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the parts that have not finished yet; exit with status 1 if one has not finished then."""
    if options.minutes <= 0:
        raise InputError("--minutes: above 0, such as 9")
    if options.device == "cuda":
        _check_gpu()
    out = options.out.absolute()
    source = str(Path(options.source).absolute()) if Path(options.source).is_file() else options.source
    question = {"version": __version__, "commit": commit(), "device": options.device, "source": source}
    with held_by_this_process(out, "another process runs gpu-proof there; wait for it, or choose another --out"):
        for name in options.parts:
            if _finished(out / f"{name}.json", question):
                say(f"{name:12} finished before")
                continue
            say(f"{name:12} started, at most {options.minutes:g} minutes; {out / name}.log")
            found = run_part(name, out, question, 60 * options.minutes)
            say(f"{name:12} {found['state']}, {found['seconds']:.0f} s")
            files = {part: out / f"{part}.json" for part in PARTS}
            parts = {part: read_json(file) for part, file in files.items() if file.exists()}
            write_json(out / "gpu-proof.json", {**question, "parts": parts})
    unfinished = [name for name in options.parts if not _finished(out / f"{name}.json", question)]
    say(f"{out / 'gpu-proof.json'}" + (f"; not finished: {', '.join(unfinished)}" if unfinished else ""))
    if unfinished:
        sys.exit(1)


def run_part(name: str, out: Path, question: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Run a part to its end or its limit; return what its file then says, with how it ended."""
    file, log, started = out / f"{name}.json", out / f"{name}.log", time.monotonic()
    file.unlink(missing_ok=True)
    flags = (f"--out={out}", f"--device={question['device']}", f"--source={question['source']}")
    command = [sys.executable, "-m", "tests.gpu_proof.parts", name, f"--seconds={_SHARE * seconds}", *flags]
    state = "out of time"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, **child_variables()},
        )  # fmt: skip

        def end(number: signal.Signals) -> None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)

        try:
            with ending_children(end):
                status = process.wait(seconds)
            state = "finished" if status == 0 else f"failed with status {status}"
        except subprocess.TimeoutExpired:
            end(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END)
        finally:
            end(signal.SIGKILL)  # also of what the part started
            process.wait()
    document = read_json(file) if file.exists() else {"found": {}}
    document |= {**question, "state": state, "seconds": round(time.monotonic() - started, 1)}
    if state != "finished":
        document["said"] = log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
    write_json(file, document)
    return document


def _finished(file: Path, question: dict[str, Any]) -> bool:
    """Return whether a part's file says that it finished, as an answer to the same question."""
    document = read_json(file) if file.exists() else {}
    return document.get("state") == "finished" and all(document[name] == value for name, value in question.items())


def _check_gpu() -> None:
    import torch  # takes seconds to import, and a rehearsal needs none

    if not torch.cuda.is_available():
        raise InputError("gpu-proof: this machine has no GPU that torch finds; --device cpu (DEVICE=cpu) rehearses it")


def commit() -> str:
    """Return the commit of the code, with "-dirty" if it has changed since; "unknown" where there is no git."""
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


if __name__ == "__main__":
    run_stage(build_parser(), run)

"""Kill a stage at file operations and at random moments, give the same command again, compare what it writes.

``python -m tests.kill_sweep PLAN.json FOLDER``; PLAN is {"module": of the stage, "flags": with {out} for its outputs,
"kills": numbers of file operations, or null for every one, "random": how many more at random moments}. Prints a JSON
document: the number of file operations of a whole run, and for each kill whether it resumed to equal outputs.

A file operation is one that Python's audit events show below {out}: a file opened to write, a name made, renamed or
removed. The process ends itself by SIGKILL just before it. Processes are forked from one that has imported everything.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet

from ssm4rec.settings.command_line import run_stage

_NAMES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree"}
_DIFFERS = ("second", "memory", "joules")
"""Of what a process itself measured, which another never measures the same."""


class Operations:
    """Counts the file operations below a folder and kills the process at one of them."""

    def __init__(self, folder: Path, kill: int) -> None:
        self.folder, self.kill, self.count = str(folder), kill, 0
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """See an audit event."""
        if event == "open":
            path, mode, flags = args
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or bool(set(mode or "") & set("wax+"))
            if not writes:
                return
        elif event in _NAMES:
            path = args[0]
        else:
            return
        if str(path).startswith(self.folder) or (event != "open" and not Path(str(path)).is_absolute()):
            self.count += 1
            if self.count == self.kill:
                os.kill(os.getpid(), signal.SIGKILL)


def start(plan: dict[str, Any], out: Path, kill: int) -> int:
    """Start the stage in a process of its own and return its number."""
    child = os.fork()
    if child:
        return child
    out.mkdir(parents=True, exist_ok=True)
    log = os.open(out.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    status: Any = 0
    stage = import_module(plan["module"])
    operations = Operations(out, kill)
    try:
        run_stage(stage.Settings.parser(), stage.run, [flag.replace("{out}", str(out)) for flag in plan["flags"]])
        out.with_suffix(".count").write_text(str(operations.count - 1))  # its own is one
    except SystemExit as raised:
        status = raised.code
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)


def wait(child: int) -> int:
    """Return how a process ended: its status, or minus the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def written(out: Path) -> dict[str, Any]:
    """Return the outputs as they must be equal; checkpoints are not outputs."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if not path.is_file() or ".checkpoints" in name:
            continue
        content = path.read_bytes()
        if content[:4] == b"PAR1":
            rows = pyarrow.parquet.read_table(path).to_pylist()
            found[name] = [
                {key: value for key, value in row.items() if not _measured(key)}
                for row in rows
                if not _measured(str(row.get("name")))  # a learning curve has a number's name in a column
            ]
        elif content[:1] in (b"{", b"["):
            found[name] = _without_measured(json.loads(content))
        else:
            found[name] = content
    return found


def _measured(key: str) -> bool:
    return any(word in key for word in _DIFFERS)


def _without_measured(document: Any) -> Any:
    if isinstance(document, dict):
        return {key: _without_measured(value) for key, value in document.items() if not _measured(key)}
    return [_without_measured(value) for value in document] if isinstance(document, list) else document


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of outputs that are not equal."""
    return [name for name in sorted({*one, *other}) if str(one.get(name)) != str(other.get(name))]


def sweep(plan: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run, kill, resume."""
    import_module(plan["module"])
    started = time.monotonic()
    if wait(start(plan, folder / "whole", 0)) != 0:
        raise SystemExit((folder / "whole.log").read_text())
    seconds, whole = time.monotonic() - started, written(folder / "whole")
    operations = int((folder / "whole.count").read_text())
    chosen: Sequence[int] = range(1, operations + 1) if plan["kills"] is None else plan["kills"]
    moments = random.Random(0)
    kills = [*(("operation", float(number)) for number in chosen),
             *(("seconds", moments.uniform(0, seconds)) for _ in range(plan["random"]))]  # fmt: skip
    results = []
    for number, (kind, at) in enumerate(kills):
        out = folder / f"killed{number}"
        child = start(plan, out, int(at) if kind == "operation" else 0)
        if kind == "seconds":
            time.sleep(at)
            os.kill(child, signal.SIGKILL)
        killed, resumed = wait(child), wait(start(plan, out, 0))
        left = [str(path.relative_to(out)) for path in out.rglob("*") if ".partial-" in path.name]
        result = {
            kind: at,
            "killed": killed,
            "resumed": resumed,
            "differing": differing(whole, written(out)),
            "left": left,
        }
        if resumed:
            result["said"] = out.with_suffix(".log").read_text()[-1000:]
        results.append(result)
        print(json.dumps(result), file=sys.stderr, flush=True)  # a long sweep that is cut off has said this much
        shutil.rmtree(out)
    return {"operations": operations, "seconds": seconds, "outputs": sorted(whole), "kills": results}


if __name__ == "__main__":
    print(json.dumps(sweep(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))))

"""How the benchmarks measure and print: medians of alternating runs, a table, and JSON."""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Row = dict[str, Any]


def cost(work: Callable[[], object], device: torch.device) -> float:
    """Return the milliseconds of one run: CPU time on a CPU, time between events on a GPU."""
    if device.type == "cuda":
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        stop.record()
        torch.cuda.synchronize()
        return start.elapsed_time(stop)
    started = time.process_time()
    work()
    return 1e3 * (time.process_time() - started)


def alternate(works: dict[str, Callable[[], object]], device: torch.device, runs: int = 9) -> dict[str, float]:
    """Return each work's median milliseconds over runs in turn, after two that do not count: drift hits all alike."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for run in range(runs + 2):
        for name, work in works.items():
            spent = cost(work, device)
            if run >= 2:
                times[name].append(spent)
    return {name: statistics.median(spent) for name, spent in times.items()}


def training_step(output: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """Return forward and backward of what ``output`` computes."""

    def work() -> None:
        output().sum().backward()

    return work


def command_line(description: str, runs: int) -> argparse.ArgumentParser:
    """Return the flags that the benchmarks share, and take one thread."""
    torch.set_num_threads(1)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--output", type=Path, help="JSON file to add the rows to")
    return parser


def machine(device: torch.device) -> Row:
    """Name what was measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def report(title: str, rows: list[Row], device: torch.device, output: Path | None) -> None:
    """Print the rows as a table, and add them to a JSON file."""
    print(f"\n{title} ({', '.join(str(value) for value in machine(device).values())})")
    shown = [[f"{value:,.3g}" if isinstance(value, float) else str(value) for value in row.values()] for row in rows]
    cells = [list(rows[0]), *shown]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    for line in cells:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
    if output:
        known = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
        known[title] = {**machine(device), "rows": rows}
        output.write_text(json.dumps(known, indent=1), encoding="utf-8")

"""How well a study's costs of an answer repeat: ``.venv/bin/python tests/benchmarks/bench_cost.py STUDY_FOLDER``.

The study's own measurement of latency runs again in processes of its own, with the same models, data and settings, as
often as ``--runs`` says. Of every row of "Lists for 1,000 users" the least and the most CPU-seconds of the runs are
printed, and how far apart they are; of every run whether the machine was idle. Status 1: a row's runs differ by more
than ``--within``.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from ssm4rec.artifacts.latency import LatencyResult, LatencySummary
from ssm4rec.runtime.files import read_json


def measure(command: list[str], folder: Path) -> LatencySummary:
    """Run the measurement with outputs in a folder."""
    outputs = {"--latency": folder / "latency.parquet", "--summary": folder / "latency.json"}
    given = json.loads(command[command.index("--executor-input") + 1])["inputs"]["artifacts"]["models"]["artifacts"]
    flags = dict(zip(command[3::2], command[4::2], strict=True)) | {name: str(path) for name, path in outputs.items()}
    del flags["--executor-input"]
    told = [text for flag in flags.items() for text in flag]
    program = [sys.executable, *command[1:3], *told, "--models", *(model["uri"] for model in given)]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    subprocess.run(program, check=True, env=quiet, stderr=subprocess.DEVNULL)
    return LatencySummary.read(outputs["--summary"])


def name_of(row: LatencyResult) -> str:
    """Return what tells a row from the others."""
    return f"{row.model} seed {row.seed}, {row.mode}, {row.batch} per request"


def main() -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--within", type=float, default=0.1, help="0.1: the most is at most 10%% above the least")
    options = parser.parse_args()
    (command,) = options.study.glob("artifacts/*/measure-latency/command.json")
    costs: dict[str, list[float]] = {}
    for run in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            summary = measure(read_json(command), Path(folder))
        others = summary.machine["others_cores"]
        print(f"run {run + 1}: other processes used {others:.2f} cores", flush=True)
        for row in summary.results:
            if row.cpu_seconds_per_user:
                costs.setdefault(name_of(row), []).append(1e3 * row.cpu_seconds_per_user.value)
    apart = {name: max(values) / min(values) - 1 for name, values in costs.items()}
    for name, values in costs.items():
        print(f"{name:44} {min(values):8.4f} to {max(values):8.4f} CPU-s per 1,000 users, {apart[name]:6.1%} apart")
    inside = sum(value <= options.within for value in apart.values())
    print(f"{inside} of {len(apart)} rows within {options.within:.0%}, all within {max(apart.values()):.1%}")
    return int(inside < len(apart))


if __name__ == "__main__":
    sys.exit(main())

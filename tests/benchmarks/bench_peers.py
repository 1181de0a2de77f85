"""How fast our SASRec trains beside the sequential recommenders of public libraries: ``make bench-peers``.

    python tests/benchmarks/bench_peers.py --datasets ml-1m=FOLDER amazon-2014-beauty=FOLDER --output peers.json

FOLDER is what prepare_data wrote. Each library lives in a virtual environment of its own, made at the first use from
``peers/NAME.txt`` under $XDG_CACHE_HOME/ssm4rec/peers (1.5 GB each), and trains there by its own trainer, stopped when
the budget is spent: see the runners, ``peers/*.py``, for what each counts as a target. All train width 64, 2 layers, 2
heads (GRU4Rec has none), full softmax, fp32, on one thread. Ours and each peer take turns, so that the machine's mood
hits both; the ratio is the median over the rounds.

Batches: ours and those of RecTools and RePlay hold 3,200 cells (16 users at length 200, 64 at length 50), which is as
fast as their default of 128 users or faster; RecBole's hold 256 prefixes (2,048, its default, is slower).

``--until-ndcg X`` measures CPU seconds of training to a validation NDCG@10 instead (validation itself outside the
clock), for the peers whose runner can validate; ``--budget`` then bounds how long that may take.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from measure import Row, report

from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.recipes.recommenders import MAX_LENGTH, histories

RUNNERS = Path(__file__).parent / "peers"
CELLS_PER_BATCH = 3200


@dataclass(frozen=True)
class Peer:
    """A model of another library.

    Attributes:
        environment: the library's requirements file, without its suffix.
        runner: script in ``peers/``.
        model: as the runner calls it.
        batch_of_users: a batch holds whole histories, so its size can be ours.
        validates: the runner knows --until-ndcg.
    """

    environment: str
    runner: str
    model: str
    batch_of_users: bool = False
    validates: bool = False


OURS = "ssm4rec-sasrec"
PEERS = {
    "rectools-sasrec": Peer("rectools", "rectools_sasrec.py", "sasrec", batch_of_users=True, validates=True),
    "replay-sasrec": Peer("replay", "replay_sasrec.py", "sasrec", batch_of_users=True),
    "recbole-sasrec": Peer("recbole", "recbole_models.py", "sasrec"),
    "recbole-gru4rec": Peer("recbole", "recbole_models.py", "gru4rec"),
}


def environment(name: str, torch_index: str) -> Path:
    """Return the Python of a library's environment, made anew when its requirements have changed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "ssm4rec" / "peers" / name
    python, requirements, installed = folder / "bin" / "python", RUNNERS / f"{name}.txt", folder / "installed.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if not installed.exists() or installed.read_text(encoding="utf-8") != wanted:
        print(f"installing {requirements.name} into {folder}: about 1.5 GB, some minutes", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        index = ["--extra-index-url", torch_index] if torch_index else []
        command = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--quiet", *index]
        subprocess.run([*command, "--requirement", requirements], check=True)
        installed.write_text(wanted, encoding="utf-8")
    return python


def run(python: Path | str, runner: str, flags: dict[str, object]) -> Row:
    """Run a runner on one thread and return the line it prints, with its targets a CPU second."""
    command = [str(python), str(RUNNERS / runner)]
    for name, value in flags.items():
        command += [f"--{name}", str(value)]
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=os.environ | one_thread, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: failed\n{done.stderr[-3000:]}")
    measured: Row = json.loads(done.stdout.splitlines()[-1])
    return measured | {"rate": measured["targets"] / measured["cpu_seconds"]}


class Comparison:
    """Runs ours and the peers in turn on one data set, and keeps what they measured."""

    def __init__(self, dataset: str, folder: Path, options: argparse.Namespace) -> None:
        self.dataset, self.options = dataset, options
        self.length = MAX_LENGTH[histories(read_sequences(folder))]
        self.flags: dict[str, object] = {
            "dataset": folder,
            "maximum-length": self.length,
            "seconds": options.budget,
        }
        if options.until_ndcg is not None:
            self.flags["until-ndcg"] = options.until_ndcg
        self.runs: list[Row] = []

    def round(self) -> None:
        """Run ours and each peer once in turn; in each, ours anew."""
        for name in self.options.peers:
            for which in (OURS, name):
                self.runs.append(self._measure(which) | {"against": name})
                print(line(self.runs[-1]), file=sys.stderr, flush=True)

    def _measure(self, name: str) -> Row:
        known = {"dataset": self.dataset, "peer": name}
        if name == OURS:
            return run(sys.executable, "ssm4rec_sasrec.py", self.flags) | known
        peer = PEERS[name]
        flags = self.flags | {"model": peer.model}
        if peer.batch_of_users:
            flags["batch-size"] = CELLS_PER_BATCH // self.length
        return run(environment(peer.environment, self.options.torch_index), peer.runner, flags) | known

    def speed(self) -> list[Row]:
        """Return a row for each peer: medians over the rounds."""
        rows = []
        for name in self.options.peers:
            ours = [row["rate"] for row in self.runs if row["against"] == name and row["peer"] == OURS]
            theirs = [row for row in self.runs if row["peer"] == name]
            ratios = [mine / row["rate"] for mine, row in zip(ours, theirs, strict=True)]
            rows.append(
                {
                    "dataset": self.dataset,
                    "peer": name,
                    "version": theirs[0]["version"],
                    "parameters": theirs[0]["parameters"],
                    "targets a cpu-s": round(statistics.median(row["rate"] for row in theirs)),
                    "ours": round(statistics.median(ours)),
                    "ours / peer": statistics.median(ratios),
                    "rounds": len(theirs),
                }
            )
        return rows

    def time_to_quality(self) -> list[Row]:
        """Return a row for each run: when it reached the validation NDCG@10, and what it reached at all."""
        rows = []
        for row in self.runs:
            reached = [epoch for epoch in row["epochs"] if epoch["ndcg_10"] >= self.options.until_ndcg]
            rows.append(
                {
                    "dataset": self.dataset,
                    "model": row["peer"],
                    "version": row["version"],
                    "cpu-s to it": round(reached[0]["cpu_seconds"]) if reached else "not reached",
                    "cpu-s in all": round(row["cpu_seconds"]),
                    "epochs": len(row["epochs"]),
                    "best NDCG@10": max((epoch["ndcg_10"] for epoch in row["epochs"]), default=0.0),
                }
            )
        return rows


def line(row: Row) -> str:
    """Say what one run measured."""
    return (
        f"{row['dataset']} {row['peer']} {row['version']}: {row['targets']:,} targets in {row['cpu_seconds']:.1f} "
        f"cpu-s, {row['rate']:,.0f} a cpu-s, {row['parameters']:,} parameters"
    )


def named_folder(text: str) -> tuple[str, Path]:
    """Read NAME=FOLDER."""
    name, equals, folder = text.partition("=")
    if not equals or not Path(folder).is_dir():
        raise argparse.ArgumentTypeError(f"{text}: write NAME=FOLDER, a folder that prepare_data wrote")
    return name, Path(folder).resolve()


def read_options() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description="Compare training speed with other libraries.")
    parser.add_argument("--datasets", type=named_folder, nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--peers", nargs="+", choices=PEERS, help="default: all, with --until-ndcg all that validate")
    parser.add_argument("--budget", type=float, default=40, help="CPU seconds of training a run; ours: two epochs")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--until-ndcg", type=float, metavar="X", help="measure the time to a validation NDCG@10 of X")
    parser.add_argument("--torch-index", default="", help="an index with CPU builds of torch, if the default has none")
    parser.add_argument("--output", type=Path, help="JSON file to add the rows to")
    options = parser.parse_args()
    able = [name for name, peer in PEERS.items() if peer.validates or options.until_ndcg is None]
    options.peers = options.peers or able
    if unable := set(options.peers) - set(able):
        parser.error(f"--until-ndcg: {', '.join(sorted(unable))} cannot validate; choose from {', '.join(able)}")
    return options


def main() -> None:
    """Run the benchmark."""
    options = read_options()
    torch.set_num_threads(1)
    comparisons = [Comparison(name, folder, options) for name, folder in options.datasets]
    for _ in range(options.rounds):
        for comparison in comparisons:
            comparison.round()
    rows: list[dict[str, Any]] = []
    for comparison in comparisons:
        rows += comparison.speed() if options.until_ndcg is None else comparison.time_to_quality()
    title = "training speed beside peers"
    if options.until_ndcg is not None:
        title = f"CPU time to a validation NDCG@10 of {options.until_ndcg} beside peers"
    report(title, rows, torch.device("cpu"), options.output)
    if options.output:
        known = json.loads(options.output.read_text(encoding="utf-8"))
        known[title]["runs"] = [measured for comparison in comparisons for measured in comparison.runs]
        options.output.write_text(json.dumps(known, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Measure how long models take to suggest: ``python -m ssm4rec.stages.measure_latency --help``."""

import argparse
import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ssm4rec.command_line import StageParser, boolean, run_stage
from ssm4rec.data.dataset import SequenceDataset, read_manifest, read_sequences
from ssm4rec.device import choose_device, choose_kernels
from ssm4rec.errors import InputError
from ssm4rec.executor_input import input_paths, write_executor_output
from ssm4rec.latency.host import (
    IDLE_BELOW,
    clock_mhz,
    describe,
    load_average,
    others_cores,
    peak_process_bytes,
    read_clocks,
)
from ssm4rec.latency.intervals import LEVEL, OUTLIER_RULE, RESAMPLES
from ssm4rec.latency.latency_files import LatencyResult, LatencySummary, TimedSample, write_samples
from ssm4rec.latency.length_sweep import measure_lengths
from ssm4rec.latency.meter import meter_of
from ssm4rec.latency.protocol import BATCHES, SAMPLES, TOP_K, USERS, Protocol
from ssm4rec.latency.summary import crossings, mark_outliers, results
from ssm4rec.latency.timing import Measurement, Subject, measure_users
from ssm4rec.tracking import tracked_task
from ssm4rec.training.machine import Machine, choose_precision, joined
from ssm4rec.training.model_folder import StoredModel, read_model

logger = logging.getLogger(__name__)


def build_parser() -> StageParser:
    """Return the stage's command line."""
    parser = StageParser(
        "ssm4rec.stages.measure_latency",
        "Measure how long models take from a user's history to suggestions, all under the same conditions.",
    )
    parser.add_argument("--dataset-dir", type=Path, required=True, help="dataset folder, from prepare_data")
    parser.add_argument(
        "--models", type=Path, nargs="*", default=[], metavar="DIR", help="model folders, from train_recommender"
    )
    parser.add_argument(
        "--longest-only",
        type=boolean,
        default=False,
        help="of models that differ in model.maximum_length alone, measure the one that reads most; else refuse them",
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, or auto: cuda where there is one")
    parser.add_argument(
        "--precision", default="fp32", help="fp32, tf32, bf16, or auto: bf16 on a GPU (weights stay fp32), else fp32"
    )
    parser.add_argument(
        "--kernels", default="auto", help="form of the operators: sequential, torch, fused, or auto: fused where it is"
    )
    parser.add_argument("--compile", type=boolean, default=False, help="send the forward through torch.compile")
    parser.add_argument("--threads", type=int, default=0, help="of a CPU; 0: as many as torch takes")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="drawn from the users; the paper's 30")
    parser.add_argument("--users", type=int, default=USERS, help="of a sample; the paper's 1,500")
    parser.add_argument(
        "--batches",
        default=",".join(map(str, BATCHES)),
        help="users a request, each is measured; empty with --lengths: none",
    )
    parser.add_argument(
        "--single-users", type=int, default=0, help="of a sample at batch 1, which takes longest; 0: --users"
    )
    parser.add_argument("--with-replacement", type=boolean, default=False, help="a sample may hold a user twice")
    parser.add_argument("--warm-up", type=int, default=1, help="requests without a clock before every timed sample")
    parser.add_argument(
        "--lengths", default="", help="of histories at which one user is timed, such as 50,200,1000; empty: none"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws users, generated histories and the models' order")
    parser.add_argument("--latency", type=Path, required=True, help="latency.parquet to write, a row per timed sample")
    parser.add_argument("--summary", type=Path, required=True, help="latency.json to write: intervals and crossings")
    parser.add_argument(
        "--executor-input",
        default="",
        help="KFP's executor input, which names the models in the place of --models; empty: by hand",
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure, and write samples and summary."""
    protocol = Protocol(
        samples=options.samples,
        users=options.users,
        single_users=options.single_users or options.users,
        batches=_numbers("--batches", options.batches),
        warm_up=options.warm_up,
        with_replacement=options.with_replacement,
        lengths=_numbers("--lengths", options.lengths),
        seed=options.seed,
    )
    device = choose_device(options.device)
    choose_kernels(options.kernels, device)
    machine = Machine(device, choose_precision(options.precision, device), options.compile)
    if options.threads < 0:
        raise InputError(f"--threads {options.threads}: 0 or more")
    dataset = read_sequences(options.dataset_dir)
    folders = input_paths(options.executor_input, "models") if options.executor_input else options.models
    subjects = _subjects(folders, dataset, options.dataset_dir, machine, longest_only=options.longest_only)
    computed = {"device": device.type, "precision": machine.precision, "compiled": options.compile}
    name = f"latency {dataset.name} {device.type}"
    with tracked_task(name, {"stage": "measure_latency", "dataset": dataset.name}) as tracker:
        tracker.settings({**asdict(protocol), **computed, "kernels": options.kernels})
        tracker.dataset(read_manifest(options.dataset_dir), "test")
        with joined(machine), computing_threads(options.threads), _compiled_throughout(machine):
            summary, rows = _measure(protocol, machine, options.kernels, dataset, subjects)
        write_samples(options.latency, rows)
        summary.write(options.summary)
        shown = {_shown_name(result): 1e3 * result.mean.value for result in summary.results}
        tracker.metrics(shown)
        tracker.text("latency.json", options.summary.read_text(encoding="utf-8"))
    if options.executor_input:
        write_executor_output(options.executor_input, {"shown": {**shown}})
    _say(summary)


def _numbers(flag: str, text: str) -> tuple[int, ...]:
    """Return the whole numbers of a list such as ``256,64,1``, each once."""
    try:
        return tuple(dict.fromkeys(int(part) for part in text.split(",") if part.strip()))
    except ValueError:
        raise InputError(f"{flag} {text}: whole numbers, separated by commas") from None


def _subjects(
    folders: Sequence[Path], dataset: SequenceDataset, dataset_folder: Path, machine: Machine, *, longest_only: bool
) -> list[Subject]:
    """Read the models onto the device, compiled if that was asked for."""
    if not folders:
        raise InputError("--models: none; name the model folders of train_recommender")
    subjects: list[Subject] = []
    models = [(folder, read_model(folder)) for folder in folders]
    for folder, stored in _longest(models) if longest_only else models:
        if stored.config["fingerprint"] != dataset.fingerprint:
            raise InputError(
                f"{folder}: trained on {stored.config['dataset']} ({stored.config['fingerprint'][:12]}), but "
                f"{dataset_folder} holds {dataset.name} ({dataset.fingerprint[:12]}); a comparison is on one data set"
            )
        subject = Subject(stored.model.to(machine.device), stored.config)
        if any(other.label == subject.label for other in subjects):
            name, profile, seed = subject.label
            raise InputError(f"{folder}: a second {name} of profile {profile} and seed {seed}; measure it apart")
        if machine.compiled:
            subject.model.compile(dynamic=True)
        subjects.append(subject)
    return subjects


def _longest(models: Sequence[tuple[Path, StoredModel]]) -> list[tuple[Path, StoredModel]]:
    """Return, of models whose settings differ in the maximum length alone, the one with the longest."""
    kept: dict[str, tuple[Path, StoredModel]] = {}
    for folder, stored in models:
        config = stored.config
        settings = {**config["recipe"], "model": {**config["recipe"]["model"], "maximum_length": None}}
        key = json.dumps([config["model"], config["profile"], config["seed"], settings], sort_keys=True)
        if key not in kept or stored.model.maximum_length > kept[key][1].model.maximum_length:
            kept[key] = (folder, stored)
    return list(kept.values())


@contextmanager
def computing_threads(count: int) -> Iterator[None]:
    """Compute with ``count`` threads, 0: as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compiled_throughout(machine: Machine) -> AbstractContextManager[object]:
    """Return a context in which torch.compile fails where it would give up and run uncompiled: rows say compiled."""
    if not machine.compiled:
        return nullcontext()
    # One code object serves several models, and one more form of each is compiled for a single user.
    patch: AbstractContextManager[object] = torch._dynamo.config.patch(
        recompile_limit=256, fail_on_recompile_limit_hit=True
    )
    return patch


def _measure(
    protocol: Protocol, machine: Machine, kernels: str, dataset: SequenceDataset, subjects: list[Subject]
) -> tuple[LatencySummary, list[TimedSample]]:
    """Time everything, and describe the machine before and after."""
    measurement = Measurement(protocol, machine, kernels, meter_of(machine.device))
    host: dict[str, Any] = {**describe(machine.device), "timer": measurement.meter.timer}
    host["load_average"], before = load_average(), read_clocks()
    measure_users(measurement, subjects, dataset)
    measure_lengths(measurement, subjects, dataset)
    after = read_clocks()
    others = others_cores(before, after)
    host |= {
        "load_average_after": load_average(),
        "clock_mhz_after": clock_mhz(machine.device),
        "others_cores": others,
        "idle": None if others is None else others < IDLE_BELOW,
        "process_peak_bytes": peak_process_bytes(),
        "seconds": after.wall - before.wall,
    }
    rows = mark_outliers(measurement.rows)
    found = results(rows, protocol.seed)
    rules = {
        "top_k": min(TOP_K, dataset.item_count),
        "interval": f"{LEVEL:.0%}, percentile bootstrap over samples, {RESAMPLES} resamples; see latency/intervals.py",
        "outlier_rule": OUTLIER_RULE,
    }
    summary = LatencySummary(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        items=dataset.item_count,
        eligible_users=int((dataset.test_position > 0).sum()),
        protocol={**asdict(protocol), **rules},
        machine=host,
        results=found,
        crossings=crossings(found),
    )
    return summary, rows


def _shown_name(result: LatencyResult) -> str:
    """Name a number, milliseconds a user, for the KFP UI and MLflow."""
    where = "" if result.length is None else f"/length{result.length}/{result.histories}"
    return f"{result.model}/seed{result.seed}/{result.profile}/{result.mode}/batch{result.batch}{where}/ms_per_user"


def _say(summary: LatencySummary) -> None:
    for result in summary.results:
        logger.info(
            "%s: %.4f ms (%.4f to %.4f), without %d outliers %.4f",
            _shown_name(result).removesuffix("/ms_per_user"), 1e3 * result.mean.value, 1e3 * result.mean.low,
            1e3 * result.mean.high, result.outliers, 1e3 * result.mean_without_outliers.value,
        )  # fmt: skip
    if summary.machine["idle"] is False:
        logger.warning(
            "the machine was not idle: other processes used %.2f cores on average", summary.machine["others_cores"]
        )


def main() -> None:
    """Run the stage from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

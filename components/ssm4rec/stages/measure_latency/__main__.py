"""Measure how long models take to suggest: ``python -m ssm4rec.stages.measure_latency --help``."""

import json
import logging
import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import torch

from ssm4rec.artifacts.dataset import SequenceDataset, check_trained_on, read_sequences
from ssm4rec.artifacts.estimate import CONFIDENCE
from ssm4rec.artifacts.latency import LatencyResult, LatencySummary, TimedSample, write_samples
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.latency.cost import COST_RULE, computing_threads, measure_cost
from ssm4rec.latency.host import IDLE_BELOW, clock_mhz, describe, others_cores, peak_process_bytes, read_clocks
from ssm4rec.latency.intervals import OUTLIER_RULE, RESAMPLES
from ssm4rec.latency.length_sweep import measure_lengths
from ssm4rec.latency.meter import meter_of
from ssm4rec.latency.protocol import TOP_K, Protocol
from ssm4rec.latency.summary import crossings, mark_outliers, results
from ssm4rec.latency.timing import Measurement, Subject, measure_users
from ssm4rec.runtime.energy import energy_meter
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.measure_latency.settings import Settings
from ssm4rec.tracking import tracked_task
from ssm4rec.training.device import choose_device, choose_kernels, gpu_uuid
from ssm4rec.training.distributed import Distributed, choose_precision, process_group
from ssm4rec.training.model_folder import StoredModel, read_model

logger = logging.getLogger(__name__)

_ASKED: Final = {
    "full": "whole history per request",
    "step": "one new event per request",
    "prefill": "state made from the history",
}
"""What a mode is, for people."""


def run(options: Settings) -> None:
    """Measure, and write samples and summary."""
    protocol = options.protocol()
    device = choose_device(options.device)
    choose_kernels(options.kernels, device)
    distributed = Distributed(device, choose_precision(options.precision, device), options.compile)
    dataset = read_sequences(options.dataset_dir)
    subjects = _subjects(options.models, dataset, distributed, longest_only=options.longest_only)
    computed = {"device": device.type, "precision": distributed.precision, "compiled": options.compile}
    name = f"latency {dataset.name} {device.type}"
    with tracked_task(name, {"stage": "measure_latency", "dataset": dataset.name}) as tracker:
        tracker.settings({"protocol": asdict(protocol), "computed": {**computed, "kernels": options.kernels}})
        tracker.dataset(read_manifest(options.dataset_dir), "test")
        try:
            with process_group(distributed), computing_threads(options.threads), _compiled_throughout(distributed):
                summary, rows = _measure(protocol, distributed, options.kernels, dataset, subjects)
        except (InputError, torch.OutOfMemoryError) as error:
            if not options.executor_input:
                raise
            # In a study hours of trainings came before: the report goes without latency, and says why.
            machine = {**describe(device), "idle": None, "others_cores": None}
            summary = replace(_nothing_measured(protocol, dataset, machine), failure=reason(error))
            rows = []
            logger.warning("latency was not measured: %s", summary.failure)
        write_samples(options.latency, rows)
        summary.write(options.summary)
        shown = {_shown_name(result): 1e3 * result.mean.value for result in summary.results}
        shown |= {
            _shown_name(result, "cpu_seconds_per_1000_users"): 1e3 * result.cpu_seconds_per_user.value
            for result in summary.results
            if result.cpu_seconds_per_user
        }
        tracker.metrics(shown)
        tracker.text("latency.json", options.summary.read_text(encoding="utf-8"))
    write_executor_output(options.executor_input, {"shown": {**shown}})
    _say(summary)


def _subjects(
    folders: Sequence[Path], dataset: SequenceDataset, distributed: Distributed, *, longest_only: bool
) -> list[Subject]:
    if not folders:
        raise InputError("--models: none; name the model folders of train_recommender")
    subjects: list[Subject] = []
    models = [(folder, read_model(folder)) for folder in folders]
    for folder, stored in _longest(models) if longest_only else models:
        check_trained_on(folder, stored.config, dataset, "a comparison is on one data set")
        subject = Subject(stored.model.to(distributed.device), stored.config)
        if any(other.label == subject.label for other in subjects):
            name, profile, seed = subject.label
            raise InputError(f"{folder}: a second {name} of profile {profile} and seed {seed}; measure it apart")
        if distributed.compiled:
            subject.model.compile(dynamic=True)
        subjects.append(subject)
    return subjects


def _longest(models: Sequence[tuple[Path, StoredModel]]) -> list[tuple[Path, StoredModel]]:
    """Return, of models whose settings differ in the maximum length alone, the one with the longest."""
    kept: dict[str, tuple[Path, StoredModel]] = {}
    for folder, stored in models:
        config = stored.config
        settings = {**config["recipe"], "model": {**config["recipe"]["model"], "max_length": None}}
        key = json.dumps([config["model"], config["profile"], config["seed"], settings], sort_keys=True)
        if key not in kept or stored.model.max_length > kept[key][1].model.max_length:
            kept[key] = (folder, stored)
    return list(kept.values())


def _compiled_throughout(distributed: Distributed) -> AbstractContextManager[object]:
    """Return a context in which torch.compile fails where it would give up and run uncompiled: rows say compiled."""
    if not distributed.compiled:
        return nullcontext()
    # One code object serves several models, and one more form of each is compiled for a single user.
    patch: AbstractContextManager[object] = torch._dynamo.config.patch(
        recompile_limit=256, fail_on_recompile_limit_hit=True
    )
    return patch


def _measure(
    protocol: Protocol, distributed: Distributed, kernels: str, dataset: SequenceDataset, subjects: list[Subject]
) -> tuple[LatencySummary, list[TimedSample]]:
    device = distributed.device
    with energy_meter(gpu_uuid(device)) as energy:
        measurement = Measurement(protocol, distributed, kernels, meter_of(device), energy)
        host: dict[str, Any] = {**describe(device), "timer": measurement.meter.timer}
        host["energy_missing"] = {"package": energy.packages_missing, "gpu": energy.gpu_missing}
        host["load_average"], before = os.getloadavg()[0], read_clocks()
        measure_users(measurement, subjects, dataset)
        measure_cost(measurement, subjects, dataset)
        measure_lengths(measurement, subjects, dataset)
        after = read_clocks()
    others = others_cores(before, after)
    host |= {
        "load_average_after": os.getloadavg()[0],
        "clock_mhz_after": clock_mhz(device),
        "others_cores": others,
        "idle": None if others is None else others < IDLE_BELOW,
        "process_peak_bytes": peak_process_bytes(),
        "seconds": after.wall - before.wall,
    }
    rows = mark_outliers(measurement.rows)
    found = results(rows, protocol.seed)
    summary = replace(_nothing_measured(protocol, dataset, host), results=found, crossings=crossings(found))
    return summary, rows


def _nothing_measured(protocol: Protocol, dataset: SequenceDataset, machine: dict[str, Any]) -> LatencySummary:
    resampled = f"percentile bootstrap over samples, {RESAMPLES} resamples; see latency/intervals.py"
    rules = {
        "top_k": min(TOP_K, dataset.item_count),
        "interval": f"{CONFIDENCE:.0%}, {resampled}",
        "outlier_rule": OUTLIER_RULE,
        "cost_rule": COST_RULE,
    }
    return LatencySummary(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        items=dataset.item_count,
        eligible_users=int((dataset.test_position > 0).sum()),
        protocol={**asdict(protocol), **rules},
        machine=machine,
        results=(),
        crossings=(),
    )


def _shown_name(result: LatencyResult, what: str = "ms_per_user") -> str:
    where = "" if result.length is None else f"/length{result.length}/{result.histories}"
    return f"{result.model}/seed{result.seed}/{result.profile}/{result.mode}/batch{result.batch}{where}/{what}"


def _said_name(result: LatencyResult) -> str:
    length = "" if result.length is None else f", {result.histories} histories of {result.length}"
    users = "1 user" if result.batch == 1 else f"{result.batch} users"
    return f"{result.model} seed {result.seed} {result.profile}, {_ASKED[result.mode]}, {users} at a time{length}"


def _say(summary: LatencySummary) -> None:
    for result in summary.results:
        logger.info(
            "%s: %.4f ms per user (95%% interval %.4f to %.4f), without outliers (%d) %.4f",
            _said_name(result), 1e3 * result.mean.value, 1e3 * result.mean.low,
            1e3 * result.mean.high, result.outliers, 1e3 * result.mean_without_outliers.value,
        )  # fmt: skip
    if summary.machine["idle"] is False:
        logger.warning(
            "the machine was not idle: other processes used %.2f cores on average", summary.machine["others_cores"]
        )


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

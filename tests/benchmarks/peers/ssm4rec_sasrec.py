"""Train our SASRec, profile ``best``, the way the peers' runners train theirs, and print how fast.

The training loop takes whole epochs, so the budget is exceeded by up to one, and two are trained at least. A target is
one of the epoch's targets as the loop counts them. The loop's CPU time includes the validation after each epoch: where
nothing is asked about it, all users but one are taken out of it; else its time, measured by itself, is taken off.
"""

import contextlib
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy
import torch
from measurement import Clock, read_arguments, report

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.recipes.recommenders import histories, recipe
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.epochs import EpochRow
from ssm4rec.training.loop import train
from ssm4rec.training.settings import Recipe
from ssm4rec.training.task import Task

EPOCHS_AT_LEAST = 2


class EnoughError(Exception):
    """Ends ``train``."""


def almost_without_validation(dataset: SequenceDataset) -> SequenceDataset:
    """Return ``dataset`` with one validation user left: the loop wants one."""
    positions = dataset.validation_position.copy()
    positions[numpy.flatnonzero(positions >= 0)[1:]] = -1
    return dataclasses.replace(dataset, validation_position=positions)


def validation_seconds(chosen: Recipe, dataset: SequenceDataset) -> float:
    """Return the CPU time of one validation; the weights do not matter to it."""
    model = chosen.model.build(dataset.item_count).eval()
    started = time.process_time()
    full_ranking(model.score_next, dataset, "validation", model.max_length, torch.device("cpu"))
    return time.process_time() - started


def main() -> None:
    """Train and print the measurement."""
    options = read_arguments(("sasrec",), batch_size=3200, batch_unit="cells: users x longest history")
    dataset = read_sequences(options.dataset)
    overrides = {
        "model.max_length": options.max_length,
        "model.d_model": options.width,
        "model.n_layers": options.layers,
        "model.n_heads": options.heads,
        "model.d_ff": 4 * options.width,
        "model.dropout": options.dropout,
        "training.tokens_per_batch": options.batch_size,
        "training.objective": "next-item",
        "training.loss": "softmax",
    }
    pairs = ",".join(f"{name}={value}" for name, value in overrides.items())
    chosen = recipe("sasrec", "best", histories(dataset), pairs)
    if options.until_ndcg is None:
        dataset, validation = almost_without_validation(dataset), 0.0
    else:
        validation = validation_seconds(chosen, dataset)
    clock = Clock(options.seconds)

    def on_epoch(row: EpochRow) -> None:
        clock.targets += row.targets
        clock.cpu_seconds = row.cpu_seconds - row.epoch * validation
        reached = False
        if options.until_ndcg is not None:
            clock.epoch(row.validation_ndcg_10)
            reached = row.validation_ndcg_10 >= options.until_ndcg
        spent = clock.cpu_seconds >= clock.budget and row.epoch >= EPOCHS_AT_LEAST
        if reached or spent or row.epoch >= options.epochs:
            raise EnoughError

    with tempfile.TemporaryDirectory() as folder:
        distributed = Distributed(torch.device("cpu"))
        with contextlib.suppress(EnoughError):
            train(Task("sasrec", chosen, dataset, options.seed), distributed, Path(folder), on_epoch)
    parameters = sum(parameter.numel() for parameter in chosen.model.build(dataset.item_count).parameters())
    report(options, "ssm4rec", clock, parameters)


if __name__ == "__main__":
    main()

"""The long-history study's parameters."""

import argparse
from typing import Any

from pipelines.parameters.parser import ParametersParser
from pipelines.parameters.shared import (
    OF_ALL_STUDIES,
    add_passed_on,
    chosen_models,
    chosen_seeds,
    shared_arguments,
    whole_numbers,
)
from ssm4rec.contracts import MODELS
from ssm4rec.errors import InputError
from ssm4rec.latency.protocol import FEWEST_SAMPLES
from ssm4rec.training.sweep import SHORT
from ssm4rec.training.windows import COMPARED as WINDOWED
from ssm4rec.training.windows import LATENCY_LENGTHS, WINDOWS, window_trainings


class LongHistoryStudyParser(ParametersParser):
    """The flags of the long-history study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set")
        self.add_argument("--models", default=",".join(WINDOWED), help=f"recommenders to train, of {', '.join(MODELS)}")
        self.add_argument(
            "--lengths", default=",".join(map(str, WINDOWS)), help="windows: the most items of a history that are read"
        )
        self.add_argument("--seeds", default="0", help="seeds to train each with, separated by commas")
        self.add_argument(
            "--latency-lengths",
            default=",".join(map(str, LATENCY_LENGTHS)),
            help="of the histories at which one user is timed, separated by commas",
        )
        self.add_argument("--latency-samples", type=int, default=10, help="timed of each model at each length")
        add_passed_on(self, OF_ALL_STUDIES)
        self.set_defaults(overrides=SHORT)


def long_history_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the long-history study's arguments for parsed flags.

    Raises:
        InputError: an unknown model or profile, a seed or length that is no number, fewer than two windows, a length
            below 1, or too few samples for an interval.
    """
    models, seeds = chosen_models(options), chosen_seeds(options)
    windows, lengths = (
        list(dict.fromkeys(whole_numbers(flag, text, "50,200")))
        for flag, text in (("--lengths", options.lengths), ("--latency-lengths", options.latency_lengths))
    )
    if not lengths or min(lengths) < 1:
        raise InputError(f"--latency-lengths {options.latency_lengths}: at least one, each at least 1")
    if options.latency_samples < FEWEST_SAMPLES:
        raise InputError(
            f"--latency-samples {options.latency_samples}: at least {FEWEST_SAMPLES}, or there is no interval"
        )
    shared = shared_arguments(options, OF_ALL_STUDIES)
    del shared["overrides"]  # they stand in each training
    return {
        "trainings": window_trainings(models, windows, seeds, options.overrides),
        "latency_lengths": ",".join(map(str, lengths)),
        "latency_samples": options.latency_samples,
        **shared,
    }

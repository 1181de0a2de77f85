"""The long-history study's parameters."""

import argparse
from typing import Any

from pipelines.parameters.parser import ParametersParser
from pipelines.parameters.shared import (
    OF_ALL_STUDIES,
    add_passed_on,
    shared_arguments,
)
from ssm4rec.command_line import names, seeds, whole_number, whole_numbers
from ssm4rec.contracts import MODELS
from ssm4rec.training.sweep import SHORT
from ssm4rec.training.windows import COMPARED as WINDOWED
from ssm4rec.training.windows import LATENCY_LENGTHS, WINDOWS, window_trainings


class LongHistoryStudyParser(ParametersParser):
    """The flags of the long-history study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set")
        self.add_argument(
            "--models",
            type=names(MODELS),
            default=",".join(WINDOWED),
            help=f"recommenders to train, of {', '.join(MODELS)}",
        )
        self.add_argument(
            "--lengths",
            type=whole_numbers(1),
            default=",".join(map(str, WINDOWS)),
            help="windows: the most items of a history that are read",
        )
        self.add_argument("--seeds", type=seeds, default="0", help="seeds to train each with, separated by commas")
        self.add_argument(
            "--latency-lengths",
            type=whole_numbers(1),
            default=",".join(map(str, LATENCY_LENGTHS)),
            help="of the histories at which one user is timed, separated by commas",
        )
        self.add_argument(
            "--latency-samples", type=whole_number(), default=10, help="timed of each model at each length"
        )
        add_passed_on(self, OF_ALL_STUDIES)
        self.set_defaults(overrides=SHORT)


def long_history_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the long-history study's arguments for parsed flags.

    Raises:
        InputError: fewer than two windows, or overrides that set what the study sets.
    """
    shared = shared_arguments(options, OF_ALL_STUDIES)
    del shared["overrides"]  # they stand in each training
    return {
        "trainings": window_trainings(options.models, options.lengths, options.seeds, options.overrides),
        "latency_lengths": ",".join(map(str, options.latency_lengths)),
        "latency_samples": options.latency_samples,
        **shared,
    }

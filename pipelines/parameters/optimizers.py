"""The optimizer study's parameters."""

import argparse
from typing import Any, get_args

from pipelines.parameters.parser import ParametersParser
from pipelines.parameters.shared import (
    OF_ALL_STUDIES,
    add_passed_on,
    shared_arguments,
)
from ssm4rec.command_line import names, seeds
from ssm4rec.contracts import MODELS
from ssm4rec.optim.batch_size import ControllerName
from ssm4rec.training.sweep import COMPARED, SCALES, SHORT, sweep


class OptimizerStudyParser(ParametersParser):
    """The flags of the optimizer study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set")
        self.add_argument(
            "--models", type=names(MODELS), default="2mamba4rec", help=f"recommenders to train, of {', '.join(MODELS)}"
        )
        self.add_argument(
            "--optimizers",
            type=names(tuple(SCALES)),
            default=",".join(COMPARED),
            help=f"to tune and compare, of {', '.join(SCALES)}",
        )
        self.add_argument(
            "--controls",
            type=names(get_args(ControllerName)),
            default="fixed,paper,inverse,noise-scale",
            help="ways to choose batches",
        )
        self.add_argument("--seeds", type=seeds, default="0,1,2", help="seeds of the comparison, separated by commas")
        add_passed_on(self, OF_ALL_STUDIES)
        self.set_defaults(overrides=SHORT)


def optimizer_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the optimizer study's arguments for parsed flags."""
    return {
        "trainings": sweep(options.models, options.optimizers, options.overrides),
        "controls": ",".join(options.controls),
        "seeds": ",".join(map(str, options.seeds)),
        **shared_arguments(options, OF_ALL_STUDIES),
    }

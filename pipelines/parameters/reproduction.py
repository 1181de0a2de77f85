"""The reproduction study's parameters."""

import argparse
from typing import Any, Final

from pipelines.parameters.parser import ParametersParser
from pipelines.parameters.shared import OF_ALL_STUDIES
from ssm4rec.command_line import boolean, names, seeds, whole_number
from ssm4rec.contracts import PROFILES
from ssm4rec.training.reproduction import PAPER_EPOCHS, RECIPES, REPRODUCED, reproduction_trainings

_PASSED_ON: Final = (
    "source", "data_version", "cache_dir", "device", "precision", "kernels", "checkpoint_dir",
)  # fmt: skip


class ReproductionStudyParser(ParametersParser):
    """The flags of the reproduction study: the data set, its filter and its order of events are fixed."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument(
            "--models",
            type=names(REPRODUCED),
            default=",".join(REPRODUCED),
            help=f"recommenders to train, of {', '.join(REPRODUCED)}",
        )
        self.add_argument(
            "--profiles",
            type=names(PROFILES),
            default=",".join(RECIPES),
            help=f"recipes to train by, of {', '.join(PROFILES)}; all but paper with and without the repeat term",
        )
        self.add_argument("--seeds", type=seeds, default="0", help="seeds to train each with, separated by commas")
        self.add_argument(
            "--paper-epochs",
            type=whole_number(0),
            default=PAPER_EPOCHS,
            help="the most epochs of profile paper; 0: as published",
        )
        self.add_argument("--compile", type=boolean, default=False, help="send the models through torch.compile")
        self.add_argument("--any-checksum", type=boolean, default=False, help="accept a source of unknown checksum")
        self.add_argument(
            "--gpus", type=whole_number(1), default=1, help="of one node, for each training; as many processes"
        )
        for name in (*_PASSED_ON, "overrides"):
            default, description = OF_ALL_STUDIES[name]
            self.add_argument(f"--{name.replace('_', '-')}", default=default, help=description)


def reproduction_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the reproduction study's arguments for parsed flags.

    Raises:
        InputError: overrides that set what the study sets, or profiles that give one training twice.
    """
    return {
        "trainings": reproduction_trainings(
            options.models, options.profiles, options.seeds, options.paper_epochs, options.overrides
        ),
        "any_checksum": options.any_checksum,
        "compile": options.compile,
        "gpus": str(options.gpus),
        **{name: getattr(options, name) for name in _PASSED_ON},
    }

"""Choose the best scale of every optimizer, and list the trainings of the comparison."""

import argparse
import logging
from typing import get_args

from ssm4rec.command_line import StageParser, names, run_stage, seeds
from ssm4rec.executor_input import input_paths
from ssm4rec.files import write_json
from ssm4rec.optim.batch_size import ControllerName
from ssm4rec.outputs import input_path, output_file
from ssm4rec.training.history import read_history
from ssm4rec.training.sweep import best_scales, comparison

logger = logging.getLogger(__name__)


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.choose_settings", "Take the best of an optimizer sweep on to the comparison.")
    parser.add_argument(
        "--histories", type=input_path, nargs="*", default=[], metavar="FILE", help="history.parquet of each training"
    )
    parser.add_argument(
        "--executor-input", default="", help="KFP's executor input, in the place of --histories; empty: by hand"
    )
    parser.add_argument(
        "--controls",
        type=names(get_args(ControllerName)),
        default="fixed,paper,inverse,noise-scale",
        help="batch controls to compare",
    )
    parser.add_argument("--seeds", type=seeds, default="0,1,2", help="seeds to train each with, separated by commas")
    parser.add_argument("--overrides", default="", help="changes to the recipe that all trainings share")
    parser.add_argument(
        "--trainings", type=output_file("JSON"), required=True, help="JSON list to write: what to train"
    )
    return parser


def run(options: argparse.Namespace) -> None:
    """Choose and write."""
    paths = input_paths(options.executor_input, "histories") if options.executor_input else options.histories
    histories = [read_history(path) for path in paths]
    write_json(options.trainings, comparison(histories, options.controls, options.seeds, options.overrides))
    for (model, optimizer), scale in best_scales(histories).items():
        logger.info("%s: %s at %g", model, optimizer, scale)


def main() -> None:
    """Run the stage."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

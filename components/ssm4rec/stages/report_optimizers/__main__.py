"""Write the report of an optimizer study from its learning curves: report.html, report.md and results.json."""

import argparse

from ssm4rec.command_line import StageParser, run_stage
from ssm4rec.executor_input import input_paths
from ssm4rec.outputs import input_path
from ssm4rec.publish import add_report_flags, publish
from ssm4rec.report.optimizer_sections import optimizer_report_title, optimizer_sections
from ssm4rec.report.optimizers import gather_optimizers
from ssm4rec.training.history import read_history


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.report_optimizers", "Write the report of an optimizer study.")
    for name in ("sweep", "comparison"):
        parser.add_argument(
            f"--{name}",
            type=input_path,
            nargs="*",
            default=[],
            metavar="FILE",
            help=f"history.parquet of the {name}'s trainings",
        )
    parser.add_argument(
        "--executor-input", default="", help="KFP's executor input, in the place of the two flags; empty: by hand"
    )
    add_report_flags(parser, "a row per training")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read everything, render everything, then write."""
    sweep, compared = options.sweep, options.comparison
    if options.executor_input:
        sweep, compared = (input_paths(options.executor_input, name) for name in ("sweep", "comparison"))
    study = gather_optimizers(map(read_history, sweep), map(read_history, compared))
    publish(
        f"report optimizers {study.dataset}",
        study.dataset,
        optimizer_report_title(study),
        optimizer_sections(study),
        study.rows(),
        options,
    )


def main() -> None:
    """Run the stage."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

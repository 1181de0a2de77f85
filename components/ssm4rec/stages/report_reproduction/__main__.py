"""Write the report of a reproduction study: ``python -m ssm4rec.stages.report_reproduction --help``."""

import argparse

from ssm4rec.command_line import StageParser, naming, run_stage, whole_number
from ssm4rec.data.dataset import read_manifest, read_sequences
from ssm4rec.evaluated import add_evaluation_flags, read_evaluated
from ssm4rec.outputs import input_path
from ssm4rec.publish import add_report_flags, publish
from ssm4rec.report.reproduction import check_comparable, gather_reproduction
from ssm4rec.report.reproduction_sections import reproduction_sections, reproduction_title

_FEWEST_RESAMPLES = 100


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.report_reproduction", "Write the report of a reproduction study.")
    parser.add_argument(
        "--dataset-dir",
        type=input_path,
        required=True,
        help="dataset folder, of prepare_data --dataset ml-1m --event-order recbole",
    )
    add_evaluation_flags(parser)
    parser.add_argument(
        "--resamples", type=whole_number(_FEWEST_RESAMPLES), default=10_000, help="bootstrap draws of the users"
    )
    add_report_flags(parser, "every number of the study")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read everything, render everything, then write."""
    manifest = read_manifest(options.dataset_dir)
    with naming(f"--dataset-dir {options.dataset_dir}"):
        check_comparable(manifest)
    dataset = read_sequences(options.dataset_dir)
    evaluated = read_evaluated(options, dataset)
    study = gather_reproduction(manifest, dataset, evaluated, options.resamples)
    publish(
        f"report reproduction {manifest['dataset']}",
        manifest["dataset"],
        reproduction_title(study),
        reproduction_sections(study),
        study.rows(),
        options,
    )


def main() -> None:
    """Run the stage."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

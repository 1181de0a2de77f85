"""Write the report of a long-history study: ``python -m ssm4rec.stages.report_long_histories --help``."""

import argparse

from ssm4rec.command_line import StageParser, run_stage, whole_number
from ssm4rec.data.dataset import read_manifest, read_sequences
from ssm4rec.errors import InputError
from ssm4rec.evaluated import add_evaluation_flags, read_evaluated
from ssm4rec.outputs import input_path
from ssm4rec.publish import add_report_flags, publish
from ssm4rec.report.long_histories import gather_long_histories
from ssm4rec.report.long_history_sections import long_history_sections, long_history_title
from ssm4rec.report.measurements import gather_latency

_FEWEST_RESAMPLES = 100


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.report_long_histories", "Write the report of a long-history study.")
    parser.add_argument("--dataset-dir", type=input_path, required=True, help="dataset folder, of prepare_data")
    add_evaluation_flags(parser)
    parser.add_argument(
        "--latency", type=input_path, required=True, help="latency.json, of measure_latency with --lengths"
    )
    parser.add_argument(
        "--resamples",
        type=whole_number(_FEWEST_RESAMPLES),
        default=10_000,
        help="bootstrap draws, and permutations, of the users",
    )
    add_report_flags(parser, "every number of the study")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read everything, render everything, then write."""
    manifest, dataset = read_manifest(options.dataset_dir), read_sequences(options.dataset_dir)
    evaluated = read_evaluated(options, dataset)
    trainings = {(evaluation.model, evaluation.seed) for evaluation, _ in evaluated}
    latency = gather_latency(manifest, trainings, [options.latency], [])
    if latency is None:
        raise InputError("--latency: none; measure one (measure_latency)")
    study = gather_long_histories(manifest, dataset, evaluated, latency, options.resamples)
    sections = long_history_sections(study)
    publish(
        f"report long histories {study.dataset}",
        study.dataset,
        long_history_title(study),
        sections,
        study.rows(),
        options,
    )


def main() -> None:
    """Run the stage."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

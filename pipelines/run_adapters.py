"""Run the adapter study on this machine: ``python -m pipelines.run_adapters --help`` (``make adapter-study``)."""

import argparse

from pipelines.parameters.adapters import AdapterStudyParser, adapter_study_arguments
from pipelines.run import Plan, add_run_flags, execute
from pipelines.study_folder import StudyFolder
from ssm4rec.command_line import run_stage
from ssm4rec.tracking import Tracker


def build_parser() -> AdapterStudyParser:
    """Return the command line."""
    parser = AdapterStudyParser("pipelines.run_adapters", "Run the adapter study on this machine.")
    add_run_flags(parser)
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the adapter study and say where everything is."""
    arguments = adapter_study_arguments(options)
    side_by_side = {"finetune_llm": len(arguments["adapters"])}
    execute(Plan("adapter_study", arguments, ["llamarec"], side_by_side, StudyFolder.verdict, _track_results), options)


def _track_results(tracker: Tracker, folder: StudyFolder) -> None:
    """Log what each fine-tuning came to; seeds count as steps."""
    for row in folder.results():
        tracker.metrics({f"{row['optimizer']}/{row['scale']:g}/late_loss": row["late_loss"]}, row["seed"])


def main() -> None:
    """Run from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

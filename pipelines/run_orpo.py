"""Run the alignment study on this machine: ``python -m pipelines.run_orpo --help`` (``make orpo-study``)."""

import argparse

from pipelines.parameters.orpo import OrpoStudyParser, orpo_study_arguments
from pipelines.run import Plan, add_run_flags, execute, track_results
from pipelines.study_folder import StudyFolder
from ssm4rec.command_line import run_stage


def build_parser() -> OrpoStudyParser:
    """Return the command line."""
    parser = OrpoStudyParser("pipelines.run_orpo", "Run the alignment study on this machine.")
    add_run_flags(parser)
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the alignment study and say where everything is."""
    arguments = orpo_study_arguments(options)
    rankers = [ranker["language_model"] for ranker in arguments["rankers"]]
    side_by_side = dict.fromkeys(("finetune_llm", "rank_candidates", "align_llm"), len(rankers))
    execute(Plan("orpo_study", arguments, rankers, side_by_side, StudyFolder.table, track_results), options)


def main() -> None:
    """Run from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

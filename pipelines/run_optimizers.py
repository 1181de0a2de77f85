"""Run the optimizer study on this machine: ``python -m pipelines.run_optimizers --help`` (``make optimizer-study``)."""

import argparse

from pipelines.parameters.optimizers import OptimizerStudyParser, optimizer_study_arguments
from pipelines.run import Plan, add_run_flags, execute
from pipelines.study_folder import StudyFolder
from ssm4rec.command_line import run_stage
from ssm4rec.tracking import Tracker


def build_parser() -> OptimizerStudyParser:
    """Return the command line."""
    parser = OptimizerStudyParser("pipelines.run_optimizers", "Run the optimizer study on this machine.")
    add_run_flags(parser)
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the optimizer study and say where everything is."""
    arguments = optimizer_study_arguments(options)
    trainings = arguments["trainings"]
    models = sorted({training["model"] for training in trainings})
    side_by_side = {"train_recommender": len(trainings)}
    execute(Plan("optimizer_study", arguments, models, side_by_side, StudyFolder.verdict, _track_results), options)


def _track_results(tracker: Tracker, folder: StudyFolder) -> None:
    """Log what each method of the comparison reached; seeds count as steps."""
    for row in folder.results():
        if row["phase"] == "comparison":
            name = f"{row['model']}/{row['optimizer']}/{row['batch_control']}/validation_ndcg@10"
            tracker.metrics({name: row["best_validation_ndcg@10"]}, row["seed"])


def main() -> None:
    """Run from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

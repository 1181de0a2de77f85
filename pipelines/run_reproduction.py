"""Run the reproduction study on this machine: ``python -m pipelines.run_reproduction --help``.

``make reproduce-ml1m`` calls it.
"""

import argparse

from pipelines.parameters.reproduction import ReproductionStudyParser, reproduction_study_arguments
from pipelines.run import Plan, add_run_flags, execute
from pipelines.study_folder import StudyFolder
from ssm4rec.command_line import run_stage
from ssm4rec.tracking import Tracker


def build_parser() -> ReproductionStudyParser:
    """Return the command line."""
    parser = ReproductionStudyParser("pipelines.run_reproduction", "Run the reproduction study on this machine.")
    add_run_flags(parser)
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the reproduction study and say where everything is."""
    arguments = reproduction_study_arguments(options)
    trainings = arguments["trainings"]
    models = sorted({training["model"] for training in trainings})
    side_by_side = dict.fromkeys(("train_recommender", "evaluate"), len(trainings))
    execute(Plan("reproduction_study", arguments, models, side_by_side, StudyFolder.verdict, _track_results), options)


def _track_results(tracker: Tracker, folder: StudyFolder) -> None:
    """Log what each model reached by each recipe; seeds count as steps."""
    for row in folder.results():
        if row["kind"] == "quality" and row["profile"]:
            recipe = f"{row['profile']}-{'with' if row['repeat_term'] else 'without'}-repeat-term"
            name = f"{row['model']}/{recipe}/{row['protocol']}/{row['metric']}"
            tracker.metrics({name: row["value"]}, row["seed"])


def main() -> None:
    """Run from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

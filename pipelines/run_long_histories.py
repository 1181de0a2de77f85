"""Run the long-history study on this machine: ``python -m pipelines.run_long_histories --help``.

``make long-history-study`` calls it.
"""

import argparse

from pipelines.parameters.long_histories import LongHistoryStudyParser, long_history_study_arguments
from pipelines.run import Plan, add_run_flags, execute
from pipelines.study_folder import StudyFolder
from ssm4rec.command_line import run_stage
from ssm4rec.tracking import Tracker


def build_parser() -> LongHistoryStudyParser:
    """Return the command line."""
    parser = LongHistoryStudyParser("pipelines.run_long_histories", "Run the long-history study on this machine.")
    add_run_flags(parser)
    return parser


def run(options: argparse.Namespace) -> None:
    """Run the long-history study and say where everything is."""
    arguments = long_history_study_arguments(options)
    trainings = arguments["trainings"]
    models = sorted({training["model"] for training in trainings})
    side_by_side = dict.fromkeys(("train_recommender", "evaluate"), len(trainings))
    execute(Plan("long_history_study", arguments, models, side_by_side, StudyFolder.verdict, _track_results), options)


def _track_results(tracker: Tracker, folder: StudyFolder) -> None:
    """Log what each model reached at each window; seeds count as steps."""
    for row in folder.results():
        if row["kind"] == "quality" and row["window"] is not None:
            name = f"{row['model']}/window{row['window']}/{row['protocol']}/{row['metric']}"
            tracker.metrics({name: row["value"]}, row["seed"])


def main() -> None:
    """Run from the command line."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

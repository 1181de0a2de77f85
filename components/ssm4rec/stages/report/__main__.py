"""Write the report of a study from its files: report.html, report.md and results.json."""

import argparse
from pathlib import Path

from ssm4rec.command_line import StageParser, run_stage
from ssm4rec.contracts import REPORT_HTML, REPORT_MARKDOWN, RESULTS
from ssm4rec.data.dataset import read_manifest
from ssm4rec.evaluation.evaluation_files import EvaluationSummary
from ssm4rec.executor_input import input_paths
from ssm4rec.publish import publish
from ssm4rec.report.sections import report_sections, report_title
from ssm4rec.report.study import gather_study
from ssm4rec.training.history import read_history


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.report", "Write the report of a study from its files.")
    parser.add_argument("--dataset-dir", type=Path, required=True, help="dataset folder, of prepare_data")
    parser.add_argument(
        "--evaluations", type=Path, nargs="*", default=[], metavar="FILE", help="metrics.json of each evaluation"
    )
    parser.add_argument(
        "--histories", type=Path, nargs="*", default=[], metavar="FILE", help="history.parquet of each training"
    )
    parser.add_argument(
        "--executor-input",
        default="",
        help="KFP's executor input, which names evaluations and histories in the place of the two flags; "
        "empty: by hand",
    )
    parser.add_argument("--report-html", type=Path, default=REPORT_HTML, help="page to write")
    parser.add_argument("--report-markdown", type=Path, default=REPORT_MARKDOWN, help="Markdown file to write")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file to write: every number of the study")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read everything, render everything, then write."""
    evaluations: list[Path] = options.evaluations
    histories: list[Path] = options.histories
    if options.executor_input:
        evaluations = input_paths(options.executor_input, "evaluations")
        histories = input_paths(options.executor_input, "histories")
    manifest = read_manifest(options.dataset_dir)
    study = gather_study(manifest, map(EvaluationSummary.read, evaluations), map(read_history, histories))
    publish(
        f"report {manifest['dataset']}",
        manifest["dataset"],
        report_title(study),
        report_sections(study),
        study.results_document(),
        (options.report_html, options.report_markdown, options.results),
    )


def main() -> None:
    """Run the stage."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

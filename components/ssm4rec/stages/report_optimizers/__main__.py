"""Write the report of an optimizer study from its learning curves: report.html, report.md and results.json."""

import argparse
import json
from pathlib import Path

from ssm4rec.command_line import StageParser, run_stage
from ssm4rec.contracts import REPORT_HTML, REPORT_MARKDOWN, RESULTS
from ssm4rec.executor_input import input_paths
from ssm4rec.files import whole_file
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.report.optimizer_sections import optimizer_report_title, optimizer_sections
from ssm4rec.report.optimizers import gather_optimizers
from ssm4rec.tracking import tracked_task
from ssm4rec.training.history import read_history


def build_parser() -> StageParser:
    """Return the stage's flags."""
    parser = StageParser("ssm4rec.stages.report_optimizers", "Write the report of an optimizer study.")
    for name in ("sweep", "comparison"):
        parser.add_argument(
            f"--{name}",
            type=Path,
            nargs="*",
            default=[],
            metavar="FILE",
            help=f"history.parquet of the {name}'s trainings",
        )
    parser.add_argument(
        "--executor-input", default="", help="KFP's executor input, in the place of the two flags; empty: by hand"
    )
    parser.add_argument("--report-html", type=Path, default=REPORT_HTML, help="page to write")
    parser.add_argument("--report-markdown", type=Path, default=REPORT_MARKDOWN, help="Markdown file to write")
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON file to write: a row per training")
    return parser


def run(options: argparse.Namespace) -> None:
    """Read everything, render everything, then write."""
    sweep, compared = options.sweep, options.comparison
    if options.executor_input:
        sweep, compared = (input_paths(options.executor_input, name) for name in ("sweep", "comparison"))
    study = gather_optimizers(map(read_history, sweep), map(read_history, compared))
    title, sections = optimizer_report_title(study), optimizer_sections(study)
    texts = {
        options.report_html: render_html(title, sections),
        options.report_markdown: render_markdown(title, sections),
        options.results: json.dumps(study.rows(), indent=2, allow_nan=False) + "\n",
    }
    labels = {"stage": "report", "dataset": study.dataset}
    with tracked_task(f"report optimizers {study.dataset}", labels) as tracker:
        for path, text in texts.items():
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
        for name, text in zip((REPORT_HTML, REPORT_MARKDOWN, RESULTS), texts.values(), strict=True):
            tracker.text(name, text)


def main() -> None:
    """Run the stage."""
    run_stage(build_parser(), run)


if __name__ == "__main__":
    main()

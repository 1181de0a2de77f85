"""A report's files: a page, Markdown, its numbers and its figures; written, and logged to the task's MLflow run."""

import argparse
import json
from collections.abc import Sequence
from typing import Any

from ssm4rec.command_line import StageParser
from ssm4rec.contracts import REPORT_HTML, REPORT_MARKDOWN, RESULTS
from ssm4rec.files import whole_file
from ssm4rec.outputs import output_file, output_folder
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.report.figure_files import write_figures
from ssm4rec.report.sections import Section
from ssm4rec.tracking import tracked_task


def add_report_flags(parser: StageParser, results: str) -> None:
    """Add the flags of what every report stage writes; ``results`` says what a row of results.json is."""
    parser.add_argument("--report-html", type=output_file("HTML"), default=REPORT_HTML, help="page to write")
    parser.add_argument(
        "--report-markdown", type=output_file("Markdown"), default=REPORT_MARKDOWN, help="Markdown file to write"
    )
    parser.add_argument("--results", type=output_file("JSON"), default=RESULTS, help=f"JSON file to write: {results}")
    parser.add_argument(
        "--figures", type=output_folder("report"), default="figures", help="folder to write: each figure as PNG and CSV"
    )


def publish(
    run_name: str,
    dataset: str,
    title: str,
    sections: Sequence[Section],
    results: list[dict[str, Any]],
    options: argparse.Namespace,
) -> None:
    """Render everything, then write.

    Args:
        run_name: of the task's run in MLflow.
        dataset: the run's label.
        title: of the report.
        sections: of the report.
        results: a row per number.
        options: where to write, by the flags of ``add_report_flags``.
    """
    paths = (options.report_html, options.report_markdown, options.results)
    texts = (
        render_html(title, sections),
        render_markdown(title, sections),
        json.dumps(results, indent=2, allow_nan=False) + "\n",
    )
    with tracked_task(run_name, {"stage": "report", "dataset": dataset}) as tracker:
        for path, text in zip(paths, texts, strict=True):
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
        for name, text in zip((REPORT_HTML, REPORT_MARKDOWN, RESULTS), texts, strict=True):
            tracker.text(name, text)
        write_figures(options.figures, sections)
        tracker.artifact(options.figures)

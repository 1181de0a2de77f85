"""A report's files: a page, Markdown, its numbers and its figures; written, and logged to the task's MLflow run."""

import json

from ssm4rec.artifacts.names import REPORT_HTML, REPORT_MARKDOWN, RESULTS
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.report.figure_files import write_figures
from ssm4rec.report.sections import Report
from ssm4rec.runtime.files import whole_file
from ssm4rec.settings.shared import ReportSettings
from ssm4rec.tracking import tracked_task


def publish(study: str, report: Report, settings: ReportSettings) -> None:
    """Render everything, then write.

    Args:
        study: whose report it is.
        report: what it says.
        settings: where to write.
    """
    paths = (settings.report_html, settings.report_markdown, settings.results)
    results = json.dumps(report.results, indent=2, allow_nan=False) + "\n"
    texts = (render_html(report), render_markdown(report), results)
    tags = {"stage": "report", "dataset": report.dataset}
    with tracked_task(f"report {study} {report.dataset}", tags) as tracker:
        for path, text in zip(paths, texts, strict=True):
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
        for name, text in zip((REPORT_HTML, REPORT_MARKDOWN, RESULTS), texts, strict=True):
            tracker.text(name, text)
        write_figures(settings.figures, report.sections)
        tracker.artifact(settings.figures)

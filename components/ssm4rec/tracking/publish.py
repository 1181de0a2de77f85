"""A report's files: a page, Markdown, its numbers and its figures; written, and logged to the task's MLflow run."""

import json
from collections.abc import Sequence
from typing import Any

from ssm4rec.artifacts.names import REPORT_HTML, REPORT_MARKDOWN, RESULTS
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.report.figure_files import write_figures
from ssm4rec.report.sections import Section
from ssm4rec.runtime.files import whole_file
from ssm4rec.settings.shared import ReportSettings
from ssm4rec.tracking import tracked_task


def publish(
    run_name: str,
    dataset: str,
    title: str,
    sections: Sequence[Section],
    results: list[dict[str, Any]],
    settings: ReportSettings,
) -> None:
    """Render everything, then write.

    Args:
        run_name: of the task's run in MLflow.
        dataset: the run's label.
        title: of the report.
        sections: of the report.
        results: a row per number.
        settings: where to write.
    """
    paths = (settings.report_html, settings.report_markdown, settings.results)
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
        write_figures(settings.figures, sections)
        tracker.artifact(settings.figures)

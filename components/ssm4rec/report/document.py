"""The sections of a report as one Markdown file and as one self-contained HTML page."""

from importlib import resources

import jinja2
from markdown_it import MarkdownIt

from ssm4rec.artifacts.names import REPORT_HTML
from ssm4rec.report.markdown import escape
from ssm4rec.report.sections import Report


def render_markdown(report: Report) -> str:
    """Return the report as Markdown; in the place of a figure stands its caption and where to see it."""
    parts = [f"# {escape(report.title)}"]
    for section in report.sections:
        parts.append(f"## {escape(section.title)}")
        if section.markdown:
            parts.append(section.markdown)
        parts += [f"*Figure in {REPORT_HTML}: {escape(figure.caption)}*" for figure in section.figures]
    return "\n\n".join(parts) + "\n"


def render_html(report: Report) -> str:
    """Return the report as one HTML page that asks for nothing over the network."""
    # HTML in a section's text is shown, never interpreted.
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("ssm4rec.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    bodies = [renderer.render(section.markdown) for section in report.sections]
    return template.render(title=report.title, sections=zip(report.sections, bodies, strict=True))

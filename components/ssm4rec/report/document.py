"""A report: its parts, and what it is rendered to: a Markdown file, one self-contained HTML page, files of figures."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markdown_it import MarkdownIt

from ssm4rec.artifacts.names import REPORT_HTML
from ssm4rec.report.figures import Figure
from ssm4rec.report.markdown import escape
from ssm4rec.runtime.files import whole_folder


@dataclass(frozen=True)
class Section:
    """A part of the report: a title in plain text, a text in Markdown, and figures that follow it.

    ``folded`` are further texts in Markdown by their titles, which the page shows when it is asked to.
    """

    title: str
    markdown: str
    figures: tuple[Figure, ...] = ()
    folded: Mapping[str, str] = field(default_factory=dict)

    @property
    def anchor(self) -> str:
        """What an address of this part ends with."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


@dataclass(frozen=True)
class Report:
    """What is said of a study.

    Attributes:
        title: in plain text.
        results: every number, flat: results.json.
        made: when, by which version and by which command, in plain text.
    """

    dataset: str
    title: str
    sections: Sequence[Section]
    results: list[dict[str, Any]]
    made: str = ""


def render_markdown(report: Report) -> str:
    """Return the report as Markdown; in the place of a figure stands its caption and where to see it."""
    parts = list(filter(None, [f"# {escape(report.title)}", escape(report.made)]))
    for section in report.sections:
        parts.append(f"## {escape(section.title)}")
        if section.markdown:
            parts.append(section.markdown)
        parts += [f"*Figure in {REPORT_HTML}: {escape(figure.caption)}*" for figure in section.figures]
        parts += [f"### {escape(title)}\n\n{text}" for title, text in section.folded.items()]
    return "\n\n".join(parts) + "\n"


def render_html(report: Report) -> str:
    """Return the report as one HTML page that asks for nothing over the network."""
    # HTML in a section's text is shown, never interpreted.
    renderer = MarkdownIt("commonmark", {"html": False}).enable("table")
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
        resources.files("ssm4rec.report").joinpath("report.html.jinja").read_text(encoding="utf-8")
    )
    return template.render(report=report, render=renderer.render)


def write_figures(folder: Path, sections: Sequence[Section]) -> None:
    """Write NAME.png and NAME.csv of every figure of a report, whole or not at all; a header and a row a number."""
    with whole_folder(folder, "report") as partial:
        for figure in (figure for section in sections for figure in section.figures):
            (partial / f"{figure.name}.png").write_bytes(figure.png)
            with (partial / f"{figure.name}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([figure.columns, *figure.rows])

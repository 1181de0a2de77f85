"""The parts that a report is made of, whatever it is rendered to."""

from dataclasses import dataclass

from ssm4rec.report.figures import Figure


@dataclass(frozen=True)
class Section:
    """A part of the report: a title in plain text, a text in Markdown, and figures that follow it."""

    title: str
    markdown: str
    figures: tuple[Figure, ...] = ()

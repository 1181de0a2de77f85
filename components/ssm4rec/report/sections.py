"""The parts that a report is made of, whatever it is rendered to."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ssm4rec.report.figures import Figure


@dataclass(frozen=True)
class Section:
    """A part of the report: a title in plain text, a text in Markdown, and figures that follow it."""

    title: str
    markdown: str
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Report:
    """What is said of a study.

    Attributes:
        dataset: the data set's name.
        title: in plain text.
        sections: in order.
        results: every number of the study, flat: results.json.
    """

    dataset: str
    title: str
    sections: Sequence[Section]
    results: list[dict[str, Any]]

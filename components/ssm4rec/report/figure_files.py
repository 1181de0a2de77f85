"""The figures of a report as files: each as PNG, and its numbers as CSV."""

import csv
from collections.abc import Sequence
from pathlib import Path

from ssm4rec.report.sections import Section
from ssm4rec.runtime.files import whole_folder


def write_figures(folder: Path, sections: Sequence[Section]) -> None:
    """Write NAME.png and NAME.csv of every figure of a report, whole or not at all; a header and a row a number."""
    with whole_folder(folder, "report") as partial:
        for figure in (figure for section in sections for figure in section.figures):
            (partial / f"{figure.name}.png").write_bytes(figure.png)
            with (partial / f"{figure.name}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([figure.columns, *figure.rows])

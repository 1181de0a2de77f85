"""Write the report of a study from its files: report.html, report.md, results.json and its figures."""

import datetime
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from ssm4rec import __version__
from ssm4rec.artifacts.names import REPORT_HTML, REPORT_MARKDOWN, RESULTS
from ssm4rec.report.document import render_html, render_markdown, write_figures
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import whole_file
from ssm4rec.runtime.images import COMMAND_VARIABLE, revision
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.flags import Read, described
from ssm4rec.stages.report.settings import Settings
from ssm4rec.studies import module_of
from ssm4rec.tracking import tracked_task


def run(options: Settings) -> None:
    """Read everything, render everything, then write."""
    read = module_of(options.study, "study")
    files = files_of(options, read.Files)
    with naming_its_flag(options):
        study = read.read_study(files)
    report = replace(module_of(options.study, "report").make_report(study), made=_made())
    results = json.dumps(report.results, indent=2, allow_nan=False) + "\n"
    texts = {
        REPORT_HTML: (options.report_html, render_html(report)),
        REPORT_MARKDOWN: (options.report_markdown, render_markdown(report)),
        RESULTS: (options.results, results),
    }
    tags = {"stage": "report", "dataset": report.dataset}
    with tracked_task(f"report {options.study} {report.dataset}", tags) as tracker:
        for name, (path, text) in texts.items():
            with whole_file(path) as partial:
                partial.write_text(text, encoding="utf-8")
            tracker.text(name, text)
        write_figures(options.figures, report.sections)
        tracker.artifact(options.figures)


def _made() -> str:
    """Say when the report is made, by which version, and by which command where a study says so."""
    now = datetime.datetime.now(datetime.UTC)
    command = os.environ.get(COMMAND_VARIABLE, "")
    return f"Made on {now:%Y-%m-%d %H:%M} UTC by ssm4rec {__version__}, commit {revision()}" + (
        f", with: {command}" if command else ""
    )


def files_of(options: Settings, kind: type) -> Any:
    """Return a study's ``Files``; raise InputError if one is given that it does not have, or missing that it needs."""
    taken = {one.name: one.default for one in fields(kind)}
    for one in described(Settings):
        value = getattr(options, one.name)
        if isinstance(one.note, Read) and value and one.name not in taken:
            raise InputError(f"{one.flag}: the report of study {options.study} takes none; leave it out")
        if taken.get(one.name) is MISSING and not value:
            raise InputError(f"{one.flag}: none, and the report of study {options.study} needs it: {one.note.help}")
    return kind(**{name: getattr(options, name) for name in taken})


@contextmanager
def naming_its_flag(options: Settings) -> Iterator[None]:
    """Put the flag before what an InputError says of a file, and what to give after it: readers know the path alone."""
    try:
        yield
    except InputError as error:
        takers = []
        for one in described(Settings):
            value = getattr(options, one.name) if isinstance(one.note, Read) else None
            paths = [value] if isinstance(value, Path) else value or ()
            if any(str(error).startswith((f"{path}: ", f"{path}/")) for path in paths):
                takers.append(one)
        if not takers:
            raise
        way_out = "" if ";" in str(error) else f"; give {', '.join(one.note.help for one in takers)}"
        raise InputError(f"{' and '.join(one.flag for one in takers)} {error}{way_out}") from None


if __name__ == "__main__":
    run_stage(Settings.parser(), run)

"""The variables of make's targets and their choices: ``compiled/flags.mk``, which the Makefile includes.

``make run DATASET=ml-1m`` hands ``--dataset=ml-1m`` to the study; ``make help FOR=run`` prints
``compiled/help/run.txt``.
"""

import argparse
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pipelines import run, submit
from ssm4rec.artifacts.names import PROFILES
from ssm4rec.data.data_sets import DATA_SETS
from ssm4rec.models.table import MODELS
from ssm4rec.settings.command_line import StageParser
from ssm4rec.settings.flags import StageSettings
from ssm4rec.stages.recommend_all.settings import Settings as RecommendAll
from ssm4rec.studies import STUDIES

TARGETS: Final = {
    "run": "comparative",
    "optimizer-study": "optimizers",
    "orpo-study": "orpo",
    "adapter-study": "adapters",
    "long-history-study": "long-histories",
    "reproduce-ml1m": "reproduction",
    "scaling-study": "scaling",
}
"""The study that each target runs."""

STAGE_TARGETS: Final[dict[str, type[StageSettings]]] = {"recommend": RecommendAll}
"""The stage that each target runs by itself."""

_COLUMNS: Final = (24, 20, 52)
"""How wide name, default and meaning are in the help, with a blank between them and two before: at most 100 in all."""


def write_make_names(folder: Path) -> None:
    """Write the variables of each target next to the compiled pipelines."""
    known = {target: _names(run.build_parser(study)) for target, study in TARGETS.items()}
    submission = sorted({name for study in STUDIES for name in _names(submit.build_parser(study))})
    known["submit"] = [name for name in submission if name != "CRON"]
    known["schedule"] = [name for name in submission if name != "CACHE"]  # it takes no results of earlier runs
    known |= {target: _names(settings.parser()) for target, settings in STAGE_TARGETS.items()}
    parsers: dict[str, list[StageParser]] = {target: [run.build_parser(study)] for target, study in TARGETS.items()}
    parsers |= {target: [settings.parser()] for target, settings in STAGE_TARGETS.items()}
    parsers |= {target: [submit.build_parser(study) for study in STUDIES] for target in ("submit", "schedule")}
    (folder / "help").mkdir(exist_ok=True)
    for target, names in known.items():
        text = _help(parsers[target], names)
        (folder / "help" / f"{target}.txt").write_text(text, encoding="utf-8")
    old = {target: _spelled(run.build_parser(study).old_flags) for target, study in TARGETS.items()}
    submitted = {flag for study in STUDIES for flag in submit.build_parser(study).old_flags}
    old |= dict.fromkeys(("submit", "schedule"), _spelled(submitted))
    lines = [f"FLAGS_{target} := {' '.join(names)}" for target, names in known.items()]
    lines += [f"OLD_FLAGS_{target} := {' '.join(names)}" for target, names in old.items() if names]
    choices = {"CHOICES_DATASET": DATA_SETS, "CHOICES_MODELS": MODELS, "CHOICES_PROFILE": PROFILES}
    lines += [f"{name} := {' '.join(words)}" for name, words in choices.items()]
    head = "# Written by `make compile` from the settings of the studies: change those, not this file."
    text = "\n".join([head, f"STUDIES := {' '.join(TARGETS)}", *lines, ""])
    (folder / "flags.mk").write_text(text, encoding="utf-8")


def _names(parser: StageParser) -> list[str]:
    flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    return _spelled(flags - {"--help", "--executor-input"})


def _spelled(flags: Iterable[str]) -> list[str]:
    return sorted(flag.removeprefix("--").replace("-", "_").upper() for flag in flags)


def _help(parsers: Iterable[StageParser], names: list[str]) -> str:
    """Return the variables of a target, each with its default and what it means, under the headings of its flags."""
    groups: dict[str, dict[str, argparse.Action]] = {}
    for group in (group for parser in parsers for group in parser._action_groups):
        for action in group._group_actions:
            for name in _spelled(flag for flag in action.option_strings if flag.startswith("--")):
                if name in names and not any(name in found for found in groups.values()):
                    groups.setdefault(group.title or "", {})[name] = action
    lines = [_row("variable", "default", "meaning")]
    for title, actions in groups.items():
        lines += ["", *([f"{title}:"] if title not in ("", "options") else [])]
        lines += [_row(name, _default(action), _meaning(action)) for name, action in actions.items()]
    return "\n".join(lines) + "\n"


def _meaning(action: argparse.Action) -> str:
    text = (action.help or "").replace("%%", "%")
    return re.sub(r"--([a-z][a-z-]+)", lambda flag: flag[1].replace("-", "_").upper(), text)


def _default(action: argparse.Action) -> str:
    return "" if action.default in (None, "", ()) else str(action.default)


def _row(*cells: str) -> str:
    """Return cells as columns; what is too long for its column goes on below."""
    # A list of names breaks after its commas.
    parts = [re.sub(r",(?=\S)", ", ", cell) if at == 1 else cell for at, cell in enumerate(cells)]
    wrapped = [
        textwrap.wrap(part, width, break_on_hyphens=False) or [""] for part, width in zip(parts, _COLUMNS, strict=True)
    ]
    height = max(map(len, wrapped))
    filled = [[*cell, *[""] * (height - len(cell))] for cell in wrapped]
    rows = zip(*filled, strict=True)
    lines = (" ".join(cell.ljust(width) for cell, width in zip(row, _COLUMNS, strict=True)) for row in rows)
    return "\n".join(f"  {line}".rstrip() for line in lines)

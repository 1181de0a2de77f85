"""The variables of make's targets and their choices: ``compiled/flags.mk``, which the Makefile includes.

``make run DATASET=ml-1m`` hands ``--dataset=ml-1m`` to the study.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from pipelines import run, submit
from pipelines.studies import StudyParser
from ssm4rec.artifacts.names import PROFILES
from ssm4rec.data.data_sets import DATA_SETS
from ssm4rec.models.table import MODELS
from ssm4rec.studies import STUDIES

TARGETS: Final = {
    "run": "comparative",
    "optimizer-study": "optimizers",
    "orpo-study": "orpo",
    "adapter-study": "adapters",
    "long-history-study": "long-histories",
    "reproduce-ml1m": "reproduction",
}
"""The study that each target runs."""


def write_make_names(folder: Path) -> None:
    """Write the variables of each target next to the compiled pipelines."""
    known = {target: _names(run.build_parser(study)) for target, study in TARGETS.items()}
    submission = sorted({name for study in STUDIES for name in _names(submit.build_parser(study))})
    known["submit"] = [name for name in submission if name != "CRON"]
    known["schedule"] = [name for name in submission if name != "CACHE"]  # it takes no results of earlier runs
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


def _names(parser: StudyParser) -> list[str]:
    flags = {flag for action in parser._actions for flag in action.option_strings if flag.startswith("--")}
    return _spelled(flags - {"--help"})


def _spelled(flags: Iterable[str]) -> list[str]:
    return sorted(flag.removeprefix("--").replace("-", "_").upper() for flag in flags)

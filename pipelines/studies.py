"""The studies by name, and their command line, whose flags may also stand in a YAML file."""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from pipelines.parameters_file import flags_of_file
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.images import COMMAND_VARIABLE
from ssm4rec.settings.flags import SettingsParser, described
from ssm4rec.studies import STUDIES, module_of
from ssm4rec.studies.reproduction.plan import DATASET as REPRODUCED_DATA
from ssm4rec.studies.settings import StudySettings

DEFAULT: Final = "comparative"
PLANS: Final[dict[str, type[StudySettings]]] = {name: module_of(name, "plan").Settings for name in STUDIES}
"""What each study is told."""


class StudyParser(SettingsParser):
    """The command line of a study, and of what is done with it (``further``); it wins over a file of parameters.

    ``here``: it runs on this machine: its folders are looked at; a cluster's cannot be seen from here.
    """

    def __init__(self, module: str, study: str, further: type, *, here: bool) -> None:
        self._here = here
        super().__init__(module, PLANS[study], further)
        self.add_argument("--parameters", default="", help="YAML file of flags, such as `seeds: [0, 1, 2]`")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the flags of the parameters file, if one is given, and then those of the command line."""
        arguments = list(sys.argv[1:] if args is None else args)
        found = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        found.add_argument("--parameters", default="", nargs="?", const="")  # without a value: refused below
        path = found.parse_known_args(arguments)[0].parameters
        # Each by itself: the command line wins over the file by whichever name.
        in_file = {one.partition("=")[0]: one for one in (self._flags_of_file(path) if path else [])}
        typed = self.by_names_of_today(arguments)
        for flag in (one.partition("=")[0] for one in typed):
            in_file.pop(flag, None)
        try:
            return super().parse_args([*in_file.values(), *typed], namespace)
        except InputError as error:
            if str(error).partition(" ")[0] not in in_file:
                raise
            raise InputError(f"--parameters {path}: {error}") from None

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """End with an error, and with make's names for what it names."""
        super().exit(status, message and with_variables(message.rstrip("\n")) + "\n")

    def check_paths(self, options: Any) -> None:
        """Raise InputError if a folder of this machine cannot be written to, or is another thing than a study's."""
        if self._here:
            super().check_paths(options)

    def _flags_of_file(self, path: str) -> list[str]:
        known = {option for option in self._option_string_actions if option.startswith("--")} | self.old_flags.keys()
        try:
            # The study decides which flags there are, before the file is read.
            return self.by_names_of_today(flags_of_file(Path(path), known - {"--help", "--parameters", "--study"}))
        except InputError as error:
            self.error(f"--parameters {path}: {error}")


def with_variables(message: str) -> str:
    """Return an error with make's names of the study's flags in it, if it was make that was called."""
    if not os.environ.get(COMMAND_VARIABLE, "").startswith("make ") or "(make" in message:
        return message
    known = {one.flag for plan in PLANS.values() for one in described(plan)}
    named = dict.fromkeys(flag for flag in re.findall(r"(?<!\S)--[a-z][a-z-]*[a-z]", message) if flag in known)
    variables = ", ".join(f"{flag[2:].replace('-', '_').upper()}=" for flag in named)
    return f"{message} (make: {variables})" if variables else message


def named_study(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return the study that a command line begins with, by default the comparative one, and the rest; else exit."""
    if not arguments or arguments[0].startswith("-"):
        return DEFAULT, list(arguments)
    name, *rest = arguments
    if name not in STUDIES:
        sys.stderr.write(f"python -m pipelines.run: error: {name}: no study; choose from {', '.join(STUDIES)}\n")
        raise SystemExit(2)
    return name, rest


def data_and_profile(arguments: Mapping[str, Any]) -> tuple[str, str]:
    """Return the data set and the profiles of a study, from its pipeline's arguments, as people call them.

    The reproduction study has no parameter for them: its data set is fixed, its trainings have a profile each.

    >>> data_and_profile({"trainings": [{"profile": "best"}, {"profile": "paper"}]})
    ('ml-1m', 'best,paper')
    """
    profiles = dict.fromkeys(entry["profile"] for entry in arguments.get("trainings", ()) if "profile" in entry)
    data = arguments.get("name") or arguments.get("dataset", REPRODUCED_DATA)
    return data, arguments.get("profile", ",".join(profiles))

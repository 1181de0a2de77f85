"""A command line whose flags may also stand in a YAML file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.parameters.file import flags_of_file
from ssm4rec.command_line import StageParser
from ssm4rec.errors import InputError


class ParametersParser(StageParser):
    """A command line whose flags may also stand in a YAML file, over which the command line wins."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--parameters", default="", help="YAML file of flags, such as `seeds: [0, 1, 2]`")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse the flags of the parameters file, if one is given, and then those of the command line."""
        arguments = list(sys.argv[1:] if args is None else args)
        found = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        found.add_argument("--parameters", default="")
        path = found.parse_known_args(arguments)[0].parameters
        return super().parse_args([*self._flags_of_file(path), *arguments] if path else arguments, namespace)

    def _flags_of_file(self, path: str) -> list[str]:
        known = {option for option in self._option_string_actions if option.startswith("--")}
        try:
            return flags_of_file(Path(path), known - {"--help", "--parameters"})
        except InputError as error:
            self.error(f"--parameters {path}: {error}")

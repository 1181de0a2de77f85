"""A command line whose flags may also stand in a YAML file."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ssm4rec.command_line import StageParser


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
        try:
            document = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            self.error(f"--parameters {path}: {' '.join(str(error).split())}")
        if not isinstance(document, dict):
            self.error(f"--parameters {path}: write a line `name: value` for each flag")
        flags = []
        for name, value in document.items():
            flag = f"--{str(name).replace('_', '-')}"
            if flag not in self._option_string_actions or flag in ("--help", "--parameters"):
                self.error(f"--parameters {path}: there is no parameter {name!r}")
            flags.append(f"{flag}={_as_flag(value)}")  # in one word: a value may begin with a dash
        return flags


def _as_flag(value: Any) -> str:
    """Write a value of a YAML file as it would be typed.

    >>> [_as_flag(value) for value in (True, [0, 1], {"pool": "a100"}, None, 4.5)]
    ['true', '0,1', '{"pool": "a100"}', '', '4.5']
    """
    match value:
        case bool() | dict():
            return json.dumps(value)
        case list():
            return ",".join(_as_flag(entry) for entry in value)
        case None:
            return ""
        case _:
            return str(value)

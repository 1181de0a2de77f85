"""What every stage's process does the same way: parse flags, run, report an error in one line.

Exit status 0: done. 2: the input is at fault, one line on stderr says what and how to go on. Anything else: a bug,
with its traceback.
"""

import argparse
import errno
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ssm4rec.errors import InputError

# Failures of the machine under the stage that the user, not the programmer, can mend.
_ENVIRONMENT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "") else super()._get_help_string(action)


class StageParser(argparse.ArgumentParser):
    """An argument parser that shows defaults, accepts no abbreviations and fails in one line."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(
            prog=f"python -m {module}",
            description=description,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


def boolean(text: str) -> bool:
    """Parse the value of a true/false flag; KFP passes booleans as text."""
    match text.lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no" | "":
            return False
        case _:
            raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def run_stage(
    parser: StageParser, run: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None = None
) -> None:
    """Parse the command line (``arguments`` or ``sys.argv``) and call ``run``.

    Bad input becomes exit status 2, Ctrl-C status 130 (as a shell says it), each with one line.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    options = parser.parse_args(arguments)
    try:
        run(options)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(128 + signal.SIGINT, f"{parser.prog}: interrupted\n")
    except OSError as error:
        if error.errno not in _ENVIRONMENT_ERRORS:
            raise
        where = error.filename or error.filename2 or "the output folder"
        parser.exit(2, f"{parser.prog}: error: {where}: {error.strerror}; free space or choose another folder\n")

"""What every stage's process does the same way: parse flags, run, report an error in one line.

Exit status 0: done. 2: the input is at fault, one line on stderr says what and how to go on. 128 and a signal's number
(130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, 141 if nobody reads the output any more): asked to end, one line.
Anything else: a bug, with its traceback. All that is printed or logged is public and printable (``errors.printable``).
"""

import argparse
import errno
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, NoReturn, TextIO

from ssm4rec.addresses import public_text
from ssm4rec.errors import InputError, one_line, printable
from ssm4rec.signals import Ended, end_process, end_with_parent, ended_by_signals

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
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see --help)\n")


def boolean(text: str) -> bool:
    """Parse the value of a true/false flag; KFP passes booleans as text."""
    match text.lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no" | "":
            return False
        case _:
            raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


class _Formatter(logging.Formatter):
    """One line per message; a traceback after it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base class's name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        return public_text(super().formatException(ei))


class _Handler(logging.StreamHandler[TextIO]):
    """Ends the process when nobody can read its lines any more; logging would print a traceback for each."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        if isinstance(sys.exc_info()[1], BrokenPipeError):
            end_unread(self.stream)
        else:
            super().handleError(record)


def end_unread(stream: TextIO) -> None:
    """End this process because nobody reads a stream of it any more, as SIGPIPE would; what is left goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
    end_process(signal.SIGPIPE)


def run_stage(
    parser: StageParser, run: Callable[[argparse.Namespace], None], arguments: Sequence[str] | None = None
) -> None:
    """Parse the command line (``arguments`` or ``sys.argv``) and call ``run``.

    Bad input becomes exit status 2, a signal that ends the process 128 and its number (as a shell says it), each with
    one line.
    """
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = _show_bug
    options = parser.parse_args(arguments)
    try:
        with ended_by_signals():
            end_with_parent()
            run(options)
    except InputError as error:
        parser.exit(2, f"{parser.prog}: error: {one_line(str(error))}\n")
    except KeyboardInterrupt as error:
        _exit_ended(parser, error.number if isinstance(error, Ended) else signal.SIGINT)
    except OSError as error:
        if error.errno not in _ENVIRONMENT_ERRORS:
            raise
        where = error.filename or error.filename2 or "the output folder"
        line = one_line(f"{where}: {error.strerror}; free space or choose another folder")
        parser.exit(2, f"{parser.prog}: error: {line}\n")


def _exit_ended(parser: StageParser, number: int) -> NoReturn:
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    parser.exit(128 + number, f"{parser.prog}: {what}\n")


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(public_text("".join(traceback.format_exception(kind, error, trace))))

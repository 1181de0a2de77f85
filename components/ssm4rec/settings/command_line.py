"""What every stage's process does the same way: parse flags, run, report an error in one line.

Exit status 0: done. 2: the input is at fault, one line on stderr says what and how to go on. 128 and a signal's number
(130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP, 141 if nobody reads the output any more): asked to end, one line.
Anything else: a bug, with its traceback. All that is printed or logged is public and printable (``errors.printable``).
"""

import argparse
import errno
import logging
import math
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Final, NoReturn, TextIO, TypeVar

from ssm4rec.runtime.addresses import public_text
from ssm4rec.runtime.collection import collect_from_here
from ssm4rec.runtime.errors import InputError, one_line, printable, reason
from ssm4rec.runtime.signals import Ended, end_process, end_with_parent, ended_by_signals, how_it_ended
from ssm4rec.settings.outputs import check_paths

T = TypeVar("T")

# Failures of the machine under the stage that the user, not the programmer, can mend.
_ENVIRONMENT_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR}

_FULL_DISK: Final = re.compile(
    r"No space left|StorageFull|FileTooLarge|QuotaExceeded|os error (?:27|28|122)\b|code: (?:27|28|122)\b"
    r"|PytorchStreamWriter failed|file write failed|inline_container.*unexpected pos"
)
"""What safetensors (a Rust error) and torch.save say of a disk that is full; neither raises OSError."""


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that say something."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, "", ()) else super()._get_help_string(action)


class StageParser(argparse.ArgumentParser):
    """An argument parser that shows defaults, accepts no abbreviations and fails in one line."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(
            prog=f"python -m {module}", description=description, formatter_class=_HelpFormatter, allow_abbrev=False
        )

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line, the flag first; ``run_stage`` exits with status 2.

        Raises:
            InputError: always. A study parses the command lines of its stages before it starts one of them.
        """
        raise InputError(re.sub(r"^argument (--[\w-]+): ", r"\1 ", message) + " (see --help)")

    def check_paths(self, options: argparse.Namespace) -> None:
        """Raise InputError if an output cannot be written, or would destroy something."""
        check_paths(self._actions, options)


_LONGEST_LABEL: Final = 60
_LARGEST_SEED: Final = 2**32 - 1
"""Of numpy's RandomState, LightFM's source of chance; torch and numpy's newer generators take more."""


def value_refused(text: str, why: str) -> argparse.ArgumentTypeError:
    """Return the error of a flag's value."""
    return argparse.ArgumentTypeError(f"{text or repr(text)}: {why}")


def boolean(text: str) -> bool:
    """Parse the value of a true/false flag; KFP passes booleans as text."""
    match text.lower():
        case "true" | "1" | "yes":
            return True
        case "false" | "0" | "no" | "":
            return False
        case _:
            raise value_refused(text, "neither true nor false")


def whole_number(at_least: int | None = None, at_most: int | None = None) -> Callable[[str], int]:
    """Return a type of flags: a whole number between two bounds, each of them allowed; None: no bound.

    >>> whole_number(at_least=0)("5")
    5
    """

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise value_refused(text, "write a whole number") from None
        if at_least is not None and value < at_least:
            raise value_refused(text, f"at least {at_least}")
        if at_most is not None and value > at_most:
            raise value_refused(text, f"at most {at_most}")
        return value

    return parse


def number(text: str, otherwise: str = "not a number") -> float:
    """Parse a number that may have decimals; ``nan`` and ``inf`` are none. ``otherwise``: what to say of others."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise value_refused(text, otherwise)
    return value


def one_of(names: Iterable[str]) -> Callable[[str], str]:
    """Return a type of flags: one of some names.

    >>> one_of(("auto", "cpu"))("cpu")
    'cpu'
    """

    def parse(text: str) -> str:
        if text not in names:
            raise value_refused(text, f"unknown; choose from {', '.join(names)}")
        return text

    return parse


def label(text: str) -> str:
    """Parse a name that may stand in the name of a folder; "" is none."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*|", text) or len(text) > _LONGEST_LABEL:
        raise value_refused(text, f"letters, digits, '.', '_' and '-', at most {_LONGEST_LABEL}")
    return text


@contextmanager
def naming(flag: str) -> Iterator[None]:
    """Put the flag before what an InputError says, where the check does not know whose value it looks at."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{flag}: {error}") from None


def listed(text: str) -> list[str]:
    """Return the parts of a text such as ``sasrec, lrurec``."""
    return [part.strip() for part in text.split(",") if part.strip()]


def several(parse: Callable[[str], T], example: str = "") -> Callable[[str], list[T]]:
    """Return a type of flags: values that ``parse`` takes, separated by commas, at least one, each once."""

    def parse_all(text: str) -> list[T]:
        found = [parse(part) for part in listed(text)]
        if not found:
            raise argparse.ArgumentTypeError(f"{text!r}: name at least one{example}")
        for entry in found:
            if found.count(entry) > 1:
                raise argparse.ArgumentTypeError(f"{text}: names {entry} twice")
        return found

    return parse_all


def names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a type of flags: some of the known names, separated by commas, each once.

    >>> names(("sasrec", "lrurec"))("lrurec, sasrec")
    ['lrurec', 'sasrec']
    """
    return several(one_of(known), f"; choose from {', '.join(known)}")


def whole_numbers(at_least: int, at_most: int | None = None) -> Callable[[str], list[int]]:
    """Return a type of flags: whole numbers separated by commas, each once.

    >>> whole_numbers(at_least=1)("50,200")
    [50, 200]
    """
    return several(whole_number(at_least, at_most), ", such as 1,2")


texts: Final = several(str)
seed: Final = whole_number(0, _LARGEST_SEED)
seeds: Final = whole_numbers(0, _LARGEST_SEED)


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


def run_stage(parser: StageParser, run: Callable[[Any], None], arguments: Sequence[str] | None = None) -> None:
    """Parse the command line (``arguments`` or ``sys.argv``) and call ``run`` with what the parser returns."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    sys.excepthook = _show_bug
    collect_from_here()
    try:
        options = parser.parse_args(arguments)
        parser.check_paths(options)
        with ended_by_signals():
            end_with_parent()
            run(options)
    except Ended as error:
        with suppress(OSError):
            sys.stderr.write(f"{parser.prog}: {how_it_ended(error.number)}\n")
            sys.stdout.flush()
            sys.stderr.flush()
        # At once: everything has been tidied up by now, and Python's own end would wait for threads of libraries.
        os._exit(128 + error.number)
    except Exception as error:
        if not (fault := _what_to_mend(error)):
            raise
        parser.exit(2, f"{parser.prog}: error: {one_line(fault)}\n")


def _what_to_mend(error: Exception) -> str:
    """Return what the user can mend, "" of a bug."""
    way_out = "free space or choose another folder"
    match error:
        case InputError():
            return str(error)
        case OSError() if error.errno in _ENVIRONMENT_ERRORS:
            return f"{error.filename or error.filename2 or 'the output folder'}: {error.strerror}; {way_out}"
        case _ if _FULL_DISK.search(str(error)):
            return f"a file cannot be written ({reason(error)}); {way_out}"
    return ""


def _show_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    sys.stderr.write(public_text("".join(traceback.format_exception(kind, error, trace))))

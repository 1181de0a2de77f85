"""The one exception for input that is at fault, and what a message looks like on a terminal and in a log."""

from typing import Final

from ssm4rec.runtime.addresses import public_text

_LONGEST_LINE: Final = 1000
_KEPT_AT_THE_END: Final = 300
_LONGEST_REASON: Final = 300


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line that names the file, column, row or flag and the way out. A stage shows it without a
    traceback and exits with status 2; nothing half-written is left behind.
    """


def printable(text: str) -> str:
    r"""Return the text as one line without secrets, whatever the user's data put into it.

    Control characters, line breaks and bytes that are no text are shown escaped: a column's name must neither begin a
    line of its own nor reach the terminal as a command.

    >>> printable("column 'a\x1b[2J\nb'")
    "column 'a\\x1b[2J\\nb'"
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in public_text(text)
    )


def one_line(text: str) -> str:
    """Return the text as ``printable`` does; of a long one the middle is left out, as the end says the way out."""
    line = printable(text)
    if len(line) <= _LONGEST_LINE:
        return line
    return f"{line[: _LONGEST_LINE - _KEPT_AT_THE_END]} … {line[-_KEPT_AT_THE_END:]}"


def reason(error: BaseException) -> str:
    r"""Return what an error of a library says, for a message of ours: its first line, printable and not too long.

    >>> reason(ValueError("no \x1b[31m such thing\nat all"))
    'no \\x1b[31m such thing'
    """
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    shown = printable(line)
    return shown if len(shown) <= _LONGEST_REASON else f"{shown[:_LONGEST_REASON]}…"

"""The one exception for input that is at fault."""


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line that names the file, column, row or flag and the way out. A stage shows it without a
    traceback and exits with status 2; nothing half-written is left behind.
    """


def reason(error: BaseException) -> str:
    r"""Return what an error of a library says, for a message of ours: its first line, printable and not too long.

    >>> reason(ValueError("no \x1b[31m such thing\nat all"))
    'no \\x1b[31m such thing'
    """
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    shown = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in line)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


_LONGEST = 300

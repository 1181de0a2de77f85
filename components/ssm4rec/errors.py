"""The one exception for input that is at fault."""


class InputError(Exception):
    """What the user gave cannot be used.

    The message is one line that names the file, column, row or flag and the way out. A stage shows it without a
    traceback and exits with status 2; nothing half-written is left behind.
    """

"""What an entry of a history is looked up as, whether from NumPy, JSON or Arrow, and what is refused."""

from typing import Any, Final

import numpy

_SHOWN: Final = 40
"""Characters of a wrong value that an error shows."""


class MalformedEntryError(ValueError):
    """Something in a request that cannot be read; the text says why, without the row."""


def read_name(place: int, entry: Any, listed: str = "history") -> str | None:
    """Return what an entry is looked up as: texts as they are, whole numbers as their digits, null as None.

    ``place`` in the list called ``listed`` is where it stands, for the MalformedEntryError.
    """
    if isinstance(entry, str):
        if has_half(entry):
            raise MalformedEntryError(f"entry {place} of {listed} is {shown(entry)}, half of a character: send UTF-8")
        return str(entry)
    if is_null(entry):
        return None
    if isinstance(entry, int | numpy.integer) and not isinstance(entry, bool | numpy.timedelta64):
        try:
            return str(int(entry))
        except ValueError:  # Python writes at most sys.get_int_max_str_digits() digits
            raise MalformedEntryError(
                f"entry {place} of {listed} is {shown(entry)}, too long to be looked up; send it as a text"
            ) from None
    if isinstance(entry, float | numpy.floating) and entry.is_integer():
        # Where nulls are among whole numbers pandas has floats. Past its mantissa a float stands for several of them.
        if abs(entry) < 2 ** (numpy.finfo(type(entry)).nmant + 1):
            return str(int(entry))
        raise MalformedEntryError(
            f"entry {place} of {listed} is {shown(entry)}, a floating-point number too large to be one whole number; "
            "send it as a text"
        )
    raise MalformedEntryError(
        f"entry {place} of {listed} is {shown(entry)}, neither a text nor a whole number nor null"
    )


def has_half(text: str) -> bool:
    """Return whether a text has half of a character, as JSON can write it, and no UTF-8 can."""
    return not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)


def is_null(value: Any) -> bool:
    """Return whether a value stands for a missing entry."""
    return value is None or (isinstance(value, float | numpy.floating) and bool(value != value))


def shown(value: Any) -> str:
    """Return a value as JSON's words for it, on one line and cut."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:
        return "a number of more than 40 digits"
    try:
        text = ascii(value) if isinstance(value, str) else str(value).encode("unicode_escape").decode()
    except (ValueError, RecursionError):  # it holds a number of thousands of digits, or is nested as deeply
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."

"""The times of a recurring run, checked here as KFP's server checks them."""

import calendar
from typing import Final, NamedTuple

from ssm4rec.runtime.errors import InputError


class _Field(NamedTuple):
    """A field's name, its smallest and largest number, and the names of the numbers from the smallest on."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS: Final = (
    _Field("second", 0, 59),
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day", 1, 31),
    _Field("month", 1, 12, ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")),
    _Field("weekday", 0, 6, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


def kfp_cron(text: str) -> str:
    """Return five or six fields of cron as KFP takes them: six, the second first.

    Raise InputError if KFP would refuse them, or the time never comes.

    >>> kfp_cron("0 3 * * mon-fri")
    '0 0 3 * * mon-fri'
    """
    parts = text.split()
    fields = [*["0"] * (6 - len(parts)), *parts]
    try:
        if len(parts) not in (5, 6):
            raise ValueError("write five fields")
        numbers = {
            field.name: {number for entry in part.split(",") for number in _numbers(entry, field)}
            for field, part in zip(_FIELDS, fields, strict=True)
        }
        # With a weekday, cron takes the days of either.
        longest = max(calendar.monthrange(2024, month)[1] for month in numbers["month"])
        if fields[-1][0] in "*?" and min(numbers["day"]) > longest:
            raise ValueError(f"no chosen month has a day {min(numbers['day'])}")
    except ValueError as error:
        raise InputError(
            f"--cron {text}: {error}; an example is '0 3 * * *' (minute, hour, day, month, weekday)"
        ) from None
    return " ".join(fields)


def _numbers(entry: str, field: _Field) -> range:
    """Return the numbers of one entry of a field: ``*``, ``?``, ``3``, ``1-5``, ``*/15``, ``3/15`` or ``1-5/2``."""
    limits, slash, step = entry.partition("/")
    first, hyphen, last = limits.partition("-")
    if first in ("*", "?") and not hyphen:
        low, high = field.low, field.high
    else:
        low = _number(first, field)
        high = _number(last, field) if hyphen else (field.high if slash else low)
    if low > high:
        raise ValueError(f"the {field.name} {entry} ends before it begins")
    if slash and not (step.isascii() and step.isdecimal() and int(step)):
        raise ValueError(f"the step of the {field.name} {entry} is not a number above 0")
    return range(low, high + 1, int(step) if slash else 1)


def _number(value: str, field: _Field) -> int:
    if value.lower() in field.names:
        return field.low + field.names.index(value.lower())
    if not (value.isascii() and value.isdecimal() and field.low <= int(value) <= field.high):
        named = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        raise ValueError(f"the {field.name} is {field.low} to {field.high}{named}, not {value or 'empty'}")
    return int(value)

"""From a request, as JSON was read, to what is asked; what is refused, in one sentence that names the row.

Refused as a whole: nothing of such a request was counted. What a row may say is in README.md.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ssm4rec.registry.entries import MalformedEntryError, has_half, read_name, shown
from ssm4rec.serving.history import Event

DEFAULT_K: Final = 10
_MOST_SEQUENCE: Final = 2**53
"""Up to here every program that reads JSON has whole numbers."""
_FIELDS: Final = ("history", "user_id", "events", "skip_missing", "k", "masked", "allowed", "excluded")
_OF_USERS: Final = ("events", "skip_missing")


class RefusedRequestError(ValueError):
    """A request that is wrong; the text is one sentence for the sender."""


@dataclass(frozen=True)
class Limits:
    """The most that one request may hold."""

    rows: int = 1_000
    k: int = 1_000
    entries: int = 100_000
    """Of one list of items, but for the stock."""
    stock: int = 10_000_000
    events: int = 1_000
    """Of one row."""
    characters: int = 200
    """Of a user's or an event's item's name, which are kept."""


@dataclass(frozen=True)
class Asked:
    """A row of a request: of a history, or of a user.

    Attributes:
        place: in its request.
        history: item ids or titles, oldest first; read where ``user`` is empty.
        user: the platform's id of the user.
        events: new ones of the user, in any order.
        skip_missing: whether events that are missing before ``events`` will never come.
        k: how many items, at least 1.
        masked: whether items that the user had are left out.
        allowed: item ids or titles, of which alone some are wanted; None: of all.
        excluded: those that are not wanted.
    """

    place: int = 0
    history: list[str | None] = field(default_factory=list)
    user: str = ""
    events: list[Event] = field(default_factory=list)
    skip_missing: bool = False
    k: int = DEFAULT_K
    masked: bool = True
    allowed: list[str | None] | None = None
    excluded: list[str | None] = field(default_factory=list)


def read_request(rows: Any, masked: bool, limits: Limits) -> list[Asked]:
    """Return what the rows of a request ask; raise RefusedRequestError if one is malformed.

    Args:
        rows: the request's list of rows.
        masked: of rows that do not say.
        limits: the most there may be.
    """
    if not isinstance(rows, list) or not rows:
        raise RefusedRequestError(f"the rows are {shown(rows)}: a list of objects, each with a history or a user_id")
    if len(rows) > limits.rows:
        raise RefusedRequestError(f"{len(rows)} rows: at most {limits.rows} in a request, send them in parts")
    asked = [_in_row(place, _read_row, place, row, masked, limits) for place, row in enumerate(rows)]
    first: dict[str, int] = {}
    for place, row in enumerate(asked):
        if row.user and first.setdefault(row.user, place) != place:
            raise RefusedRequestError(
                f"row {place}: user {shown(row.user)} has row {first[row.user]} already, put the events into one row"
            )
    return asked


def read_stock(value: Any, limits: Limits) -> list[str | None]:
    """Return the ids or titles of the items in stock; raise RefusedRequestError if it is no list of some."""
    try:
        return _names(value, "in_stock", limits.stock)
    except MalformedEntryError as error:
        raise RefusedRequestError(str(error)) from None


def _in_row(place: int, read: Callable[..., Asked], *arguments: Any) -> Asked:
    try:
        return read(*arguments)
    except MalformedEntryError as error:
        raise RefusedRequestError(f"row {place}: {error}") from None


def _read_row(place: int, row: Any, masked: bool, limits: Limits) -> Asked:
    if not isinstance(row, dict):
        raise MalformedEntryError(f"it is {shown(row)}, not an object with a history or a user_id")
    for name in row:
        if name not in _FIELDS:
            raise MalformedEntryError(f"there is nothing called {shown(name)}: {', '.join(_FIELDS)}")
    if ("history" in row) == ("user_id" in row):
        raise MalformedEntryError("it needs a history or a user_id, and not both")
    for name in _OF_USERS:
        if name in row and "user_id" not in row:
            raise MalformedEntryError(f"{name} are of a user: name the user_id")
    allowed = row.get("allowed")
    return Asked(
        place=place,
        history=_names(row["history"], "history", limits.entries) if row.get("history") is not None else [],
        user=_kept_name(row["user_id"], "user_id", limits) if "user_id" in row else "",
        events=_events(row.get("events", []), limits),
        skip_missing=_flag(row, "skip_missing", default=False),
        k=_whole(row.get("k", DEFAULT_K), "k", limits.k),
        masked=_flag(row, "masked", default=masked),
        allowed=None if allowed is None else _names(allowed, "allowed", limits.entries),
        excluded=_names(row.get("excluded", []), "excluded", limits.entries),
    )


def _names(value: Any, listed: str, most: int) -> list[str | None]:
    if not isinstance(value, list):
        raise MalformedEntryError(f"{listed} is {shown(value)}, not a list of item ids or titles")
    if len(value) > most:
        raise MalformedEntryError(f"{listed} has {len(value)} entries: at most {most}")
    return [read_name(place, entry, listed) for place, entry in enumerate(value)]


def _events(value: Any, limits: Limits) -> list[Event]:
    if not isinstance(value, list):
        raise MalformedEntryError(f'events is {shown(value)}, not a list of {{"sequence": 1, "item": an item id}}')
    if len(value) > limits.events:
        raise MalformedEntryError(f"events has {len(value)} entries: at most {limits.events}, send them in parts")
    events: dict[int, Event] = {}
    for place, entry in enumerate(value):
        if not isinstance(entry, dict) or set(entry) != {"sequence", "item"}:
            raise MalformedEntryError(f'entry {place} of events is not like {{"sequence": 1, "item": an item id}}')
        sequence = _whole(entry["sequence"], f"sequence of entry {place} of events", _MOST_SEQUENCE)
        event = Event(sequence, _kept_name(entry["item"], f"item of entry {place} of events", limits))
        if events.setdefault(sequence, event) != event:
            raise MalformedEntryError(f"events has two items with the sequence {sequence}")
    return list(events.values())


def _kept_name(value: Any, what: str, limits: Limits) -> str:
    """Return an id that is going to be stored."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MOST_SEQUENCE:
        return str(value)
    if not isinstance(value, str) or not 1 <= len(value) <= limits.characters:
        raise MalformedEntryError(f"{what} is {shown(value)}: a text of 1 to {limits.characters} characters")
    if has_half(value):
        raise MalformedEntryError(f"{what} is {shown(value)}, half of a character: send UTF-8")
    return value


def _whole(value: Any, what: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise MalformedEntryError(f"{what} is {shown(value)}: a whole number from 1 to {most}")
    return value


def _flag(row: dict[str, Any], name: str, *, default: bool) -> bool:
    value = row.get(name, default)
    if not isinstance(value, bool):
        raise MalformedEntryError(f"{name} is {shown(value)}: true or false")
    return value

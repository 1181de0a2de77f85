"""What is kept depends on a user's events alone, not on how they came."""

import random

import pytest

from ssm4rec.serving.history import Event, History, history_from_json


def log(count: int) -> list[Event]:
    return [Event(number, f"i{number % 7}") for number in range(1, count + 1)]


def kept(count: int, length: int) -> int:
    """How many of ``count`` events are kept in order, by the rule of the module's description."""
    return count if count < 2 * length else length + count % length


def everything(name: str) -> bool:
    return True


@pytest.mark.parametrize("length", [1, 2, 5])
def test_any_delivery_gives_the_same_history(length: int) -> None:
    drawn = random.Random(0)
    for count in range(1, 40):
        events, history = log(count), History()
        while history.sequence < count:
            start = drawn.randint(0, history.sequence)  # some again
            some = events[start : history.sequence + drawn.randint(1, 3 * length)]
            drawn.shuffle(some)
            history, missing = history.after(some, skip_missing=False)
            assert missing is None
            history = history.fitted(length, everything)
        names = [event.item for event in events]
        span = kept(count, length)
        assert history.recent == tuple(names[-span:])
        assert history.earlier == tuple(dict.fromkeys(names[: count - span]))
        assert history_from_json(history.to_json()) == history


def test_what_was_counted_changes_nothing() -> None:
    history, _ = History().after(log(5), skip_missing=False)
    again, missing = history.after([*log(3), Event(4, "another")], skip_missing=False)
    assert again is history
    assert missing is None


def test_an_event_too_early_waits_for_those_before_it() -> None:
    events = [Event(7, "h"), Event(4, "d"), Event(6, "f")]
    history, missing = History(3, ("a", "b", "c")).after(events, skip_missing=False)
    assert (history.sequence, history.recent, missing) == (4, ("a", "b", "c", "d"), 5)
    history, missing = history.after(events, skip_missing=True)
    assert (history.sequence, history.recent, missing) == (7, ("a", "b", "c", "d", "f", "h"), None)


def test_of_unknown_items_nothing_is_kept_for_good() -> None:
    """Else a sender could fill the store with names."""
    history, _ = History().after([Event(number, f"x{number}") for number in range(1, 1000)], skip_missing=False)
    history = history.fitted(5, lambda name: name in ("x3", "x4"))
    assert history.earlier == ("x3", "x4")
    assert len(history.recent) == kept(999, 5)

"""Items held out of training are test targets only, and the last ones to appear."""

import random

import polars
import pytest

from ssm4rec.data.cold_items import hold_out


def naive(rows, share):
    first = {}
    for place, (_, item) in enumerate(rows):
        first.setdefault(item, place)
    ordered = sorted(first, key=first.get)
    cold = set(ordered[len(ordered) - round(share * len(ordered)) :])
    kept = []
    for user in {user for user, _ in rows}:
        own = [(place, item) for place, (owner, item) in enumerate(rows) if owner == user]
        last = max((place for place, item in own if item in cold), default=None)
        before = [(place, item) for place, item in own if item not in cold and (last is None or place < last)]
        if last is None or len(before) < 2:
            before = [(place, item) for place, item in own if item not in cold]
        else:
            before.append((last, dict(own)[last]))
        kept += [(place, user, item) for place, item in before]
    return [(user, item) for _, user, item in sorted(kept)]


@pytest.mark.parametrize("seed", range(12))
def test_what_is_left_is_what_user_by_user_is(seed) -> None:
    drawn = random.Random(seed)
    rows = [(f"u{drawn.randint(0, 6)}", f"i{drawn.randint(0, 3 + place // 4)}") for place in range(60)]
    frame = polars.DataFrame(rows, {"user": polars.Categorical, "item": polars.Categorical}, orient="row")
    for share in (0.1, 0.4, 0.8):
        held = hold_out(frame, share).cast(polars.String).rows()
        assert held == naive(rows, share)

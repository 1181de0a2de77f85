"""The floor by all forms that the runs do not tell apart: which of them is the true one, no interval of one form says.

Forms whose held-out error is not significantly above the best one's are equals (``FormError.excess``). The floor lies
in the span of their intervals, and is identified only if it is by each of them, and their intervals have a value in
common: a floor on which forms disagree is the form's, not the data's.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ssm4rec.scaling.forms import Form
from ssm4rec.scaling.held_out import FormError
from ssm4rec.scaling.law import Law, LawNumber


@dataclass(frozen=True)
class CommonFloor:
    """The floor by ``forms``, the best first: its value by that one, and the span of all their intervals."""

    number: LawNumber
    forms: tuple[Form, ...]


def common_floor(laws: Sequence[Law], errors: Sequence[FormError]) -> CommonFloor:
    """Return the floor by the laws that predict about as well as the best; ``errors`` are of the same forms in order.

    The first is that of the best form.
    """
    ranked = zip(laws, errors, strict=True)
    equals = [law for law, error in ranked if error.excess is None or error.excess.sign <= 0]
    floors = [law.floor for law in equals]
    lows, highs = ([getattr(floor.estimate, end) for floor in floors] for end in ("low", "high"))
    open_ones = [f"by {law.form.name}, {law.floor.problem}" for law in equals if law.floor.problem]
    if not open_ones and max(lows) > min(highs):
        open_ones = ["the forms disagree"]
    spanning = replace(floors[0].estimate, low=min(lows), high=max(highs))
    number = LawNumber("floor", spanning, "; ".join(open_ones))
    return CommonFloor(number, tuple(law.form for law in equals))

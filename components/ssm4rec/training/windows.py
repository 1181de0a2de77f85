"""The trainings of a long-history study: every model at every window, on the same targets.

With ``training.stretches=all`` an epoch shows every target once whatever the window, so that models of several windows
see as many targets in as many steps; with one stretch a user, a short window would show a fraction of them.
"""

from collections.abc import Sequence
from typing import Any, Final

from ssm4rec.runtime.errors import InputError

WINDOWS: Final = (10, 25, 50, 100, 200, 400)
"""What a study compares unless told otherwise: of ML-100K, 400 items are the whole history of 930 of 943 users."""

LATENCY_LENGTHS: Final = (50, 200, 1000, 3000, 10_000)

COMPARED: Final = ("sasrec", "mamba4rec", "2mamba4rec")
"""A transformer and the two state-space models of the paper that keep a state; others train as long again."""

_WINDOW: Final = "model.maximum_length"
_STRETCHES: Final = "training.stretches"


def window_trainings(
    models: Sequence[str], windows: Sequence[int], seeds: Sequence[int], overrides: str
) -> list[dict[str, Any]]:
    """Return ``model``, ``seed``, ``overrides`` and ``label`` of each training, as ``train_recommender`` takes them.

    Raises:
        InputError: fewer than two windows, one below 1, or overrides that set what the study sets.
    """
    if len(windows) < 2 or min(windows) < 1:
        raise InputError(f"--lengths {','.join(map(str, windows))}: at least two, each at least 1, such as 50,200")
    for name, way_out in ((_WINDOW, "name windows with --lengths"), (_STRETCHES, "leave it out")):
        if any(pair.partition("=")[0].strip() == name for pair in overrides.split(",")):
            raise InputError(f"--overrides {overrides}: {name} is what this study sets; {way_out}")
    return [
        {
            "model": model,
            "seed": seed,
            "overrides": ",".join(filter(None, [f"{_WINDOW}={window}", f"{_STRETCHES}=all", overrides])),
            "label": f"window{window}",
        }
        for model in models
        for window in windows
        for seed in seeds
    ]

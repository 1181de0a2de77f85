"""The trainings of the reproduction study: every model by every recipe, with and without the repeat term.

The table that they make stands next to published figures of MovieLens-1M (``report/recbole_figures.py``).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ssm4rec.runtime.errors import InputError

DATASET: Final = "ml-1m"
"""The data set, and the only one, that the published figures are of."""

REPRODUCED: Final = ("hydra4rec", "sasrec", "mamba4rec", "2mamba4rec")
"""The paper's recommenders, the one that trains longest first: begun first, it leaves no core idle at the end."""

RECIPES: Final = ("best", "paper")
"""The profiles that the table is about, unless told otherwise."""

OVERRIDES: Final[Mapping[tuple[str, str], str]] = {
    ("2mamba4rec", "best"): "training.stretches=all,training.epochs=24",
    ("sasrec", "best"): "training.stretches=all,training.epochs=24",
    ("mamba4rec", "best"): "training.stretches=all,training.epochs=24",
    ("hydra4rec", "best"): "training.stretches=all,training.epochs=30",
}
"""What the study changes in a recipe of its own accord, by model and profile; a user's own changes come after it."""

PAPER_EPOCHS: Final = 2
"""The most epochs of profile ``paper`` unless told otherwise: 12 CPU-hours for all four models. Every prefix of every
user is an example there: an epoch of MovieLens-1M takes 50 (mamba4rec) to 120 CPU-minutes (hydra4rec)."""

PUBLISHED_EPOCHS: Final = 200
"""The most epochs of profile ``paper`` as published."""

REPEAT_TERM: Final = "model.repeat_term"
REFIT: Final = "training.refit"
"""Trains on the validation items at last: another protocol than that of the published figures."""

_EPOCHS: Final = "training.epochs"


def reproduction_trainings(
    models: Sequence[str], profiles: Sequence[str], seeds: Sequence[int], paper_epochs: int, overrides: str
) -> list[dict[str, Any]]:
    """Return ``model``, ``seed``, ``profile``, ``overrides`` and ``label`` of each training, for ``train_recommender``.

    Each has the repeat term switched on or off: ``paper`` has none, of the others there is one with and one without.

    Args:
        models: recommenders.
        profiles: recipes.
        seeds: of each model by each recipe.
        paper_epochs: the most epochs of profile ``paper``; 0: as published.
        overrides: changes to all recipes.

    Raises:
        InputError: overrides that set what the study sets, or two recipes that only their profile distinguishes.
    """
    changed = {pair.partition("=")[0].strip() for pair in overrides.split(",")}
    if REPEAT_TERM in changed:
        raise InputError(f"--overrides {overrides}: {REPEAT_TERM} is what this study sets; leave it out")
    if REFIT in changed:
        raise InputError(
            f"--overrides {overrides}: {REFIT} trains on the validation items, and no published figure of this study "
            "was made so; leave it out"
        )
    trainings = []
    for model in models:
        for profile in profiles:
            epochs = f"{_EPOCHS}={paper_epochs or PUBLISHED_EPOCHS}" if profile == "paper" else ""
            for repeat_term in ["false"] if profile == "paper" else ["true", "false"]:
                changes = (OVERRIDES.get((model, profile)), epochs, overrides, f"{REPEAT_TERM}={repeat_term}")
                told = ",".join(filter(None, changes))
                recipe = {
                    "model": model,
                    "profile": profile,
                    "overrides": told,
                    "label": f"{profile}-{'repeat-term' if repeat_term == 'true' else 'no-repeat-term'}",
                }
                trainings += [{**recipe, "seed": seed} for seed in seeds]
    folders = Counter((one["model"], one["seed"], one["overrides"]) for one in trainings)
    if max(folders.values()) > 1:  # a training's checkpoint is found by these
        raise InputError(
            f"--profiles {','.join(profiles)}: trainings that differ in the profile only would share a checkpoint; "
            "run each profile with an --out of its own"
        )
    return trainings

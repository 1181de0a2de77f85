"""Which model is the champion: the best of a study by validation, and whether it takes over from the one before.

Validation NDCG@10 is that of the best epoch (``training/loop.py``), as config.json keeps it, with the history
unmasked. The test split decides nothing here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssm4rec.artifacts.names import UNMASKED
from ssm4rec.artifacts.training import read_config
from ssm4rec.runtime.errors import InputError

ALIAS: Final = "champion"
_COMPARABLE: Final = {"fingerprint": "other data", "split": "another split", "protocol": "another protocol"}
"""Tags that two versions must share for their validation to compare, and what it is called if they do not."""
_VALIDATION_TAG: Final = "validation_ndcg_at_10"  # MLflow allows no @ in names


@dataclass(frozen=True)
class Contender:
    """A model folder, its config.json, and its validation: NDCG@10 of its best epoch, history unmasked."""

    folder: Path
    config: dict[str, Any]
    validation: float

    @property
    def label(self) -> str:
        """What people call it, such as ``sasrec seed 0``."""
        return f"{self.config['model']} seed {self.config['seed']}"

    def tags(self, split: str) -> dict[str, str]:
        """Return the tags of a registered version; ``split`` is how the data set was split."""
        return {
            **{name: str(self.config[name]) for name in ("model", "seed", "profile", "dataset", "fingerprint")},
            "split": split,
            "protocol": UNMASKED,
            _VALIDATION_TAG: repr(self.validation),
        }


def read_contender(folder: Path) -> Contender:
    """Read a model folder's config.json; raise InputError if there is none, or if its validation does not compare."""
    config = read_config(folder)
    training = config["training"]
    if training.get("validation_protocol", UNMASKED) != UNMASKED:  # of an earlier version
        raise InputError(f"{folder}: validated with the history masked, models compete unmasked; train it again")
    return Contender(folder, config, training["validation_ndcg@10"])


def best(contenders: Sequence[Contender]) -> Contender:
    """Return the one with the highest validation; of equals the first by name, then by seed."""
    return min(contenders, key=lambda one: (-one.validation, one.config["model"], one.config["seed"]))


def description(contenders: Sequence[Contender], split: str) -> str:
    """Return what a person reads of a registered version, in Markdown: what was chosen, why, and among which models."""
    champion = best(contenders)
    config, training = champion.config, champion.config["training"]
    rows = sorted(contenders, key=lambda one: (-one.validation, one.label))
    return "\n".join(
        [
            f"**{champion.label}**, profile {config['profile']}, trained on {config['dataset']} ({split}) in "
            f"{training['cpu_seconds']:,.0f} CPU-seconds: the best of {len(contenders)} by NDCG@10 on the validation "
            "targets, history unmasked. The report of its study has the test figures.",
            "",
            "| trained | validation NDCG@10 |",
            "|---|---|",
            *(f"| {one.label} | {one.validation:.4f} |" for one in rows),
        ]
    )


def takes_over(new: dict[str, str], current: dict[str, str] | None, replace: bool = False) -> tuple[bool, str]:
    """Return whether the version of these tags takes the alias from the ``current`` one, if there is one, and why.

    A model of profile smoke never takes it: it is trained for seconds, to see that everything works. On the same data
    and split the better one by validation is champion, and an equal leaves things as they are. Numbers of other data or
    another split, or with the history masked, do not compare: the champion so far stays unless told to ``replace`` it.
    """
    if new["profile"] == "smoke":
        return False, "trained with profile smoke"
    if current is None:
        return True, "the first one"
    known = {"protocol": UNMASKED, **current}  # versions without that tag are of a time that knew no other
    differing = " and ".join(what for name, what in _COMPARABLE.items() if new[name] != known.get(name))
    if differing:
        stays = "it stays; --replace-champion true (make: REPLACE_CHAMPION=1) replaces it"
        return replace, f"the champion so far is of {differing}: {'replaced' if replace else stays}"
    ours, theirs = float(new[_VALIDATION_TAG]), float(current[_VALIDATION_TAG])
    outcome = "replaced" if ours > theirs else "it stays"
    holder = f"{theirs:.4f} ({current['model']} seed {current['seed']})"
    return ours > theirs, f"validation ndcg@10 {ours:.4f}, the champion so far {holder}: {outcome}"

"""Which model is the champion: the best of a study by validation, and whether it takes over from the one before.

Validation NDCG@10 is that of the best epoch, the history unmasked (``training/loop.py``), as config.json keeps it. The
test split decides nothing here.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ssm4rec.contracts import MODEL_CONFIG
from ssm4rec.errors import InputError
from ssm4rec.files import read_json

logger = logging.getLogger(__name__)

ALIAS: Final = "champion"
_VALIDATION_TAG: Final = "validation_ndcg_at_10"  # MLflow allows no @ in names


@dataclass(frozen=True)
class Contender:
    """A model folder as far as the choice goes.

    Attributes:
        folder: the model folder.
        config: its config.json.
        validation: NDCG@10 of its best epoch.
    """

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
            _VALIDATION_TAG: repr(self.validation),
        }


def read_contender(folder: Path) -> Contender:
    """Read a model folder's config.json.

    Raises:
        InputError: it is missing, or is not the config of a trained recommender.
    """
    config = read_json(folder / MODEL_CONFIG)
    try:
        contender = Contender(folder, config, float(config["training"]["validation_ndcg@10"]))
        contender.tags(split="")
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MODEL_CONFIG}: not the config of a trained recommender ({error!r}); train it again"
        ) from None
    return contender


def best(contenders: Sequence[Contender]) -> Contender:
    """Return the one with the highest validation; of equals the first by name, then by seed."""
    return min(contenders, key=lambda one: (-one.validation, one.config["model"], one.config["seed"]))


def takes_over(new: dict[str, str], current: dict[str, str]) -> bool:
    """Return whether a version takes the alias from the current champion, and log why.

    Args:
        new: tags of the version.
        current: tags of the champion.

    On the same data and split the better one by validation is champion, and an equal leaves things as they are. Numbers
    on other data do not compare: there the new one takes over, since the old one cannot be shown to be better.
    """
    if any(new[name] != current.get(name) for name in ("fingerprint", "split")):
        logger.info("the champion so far is of other data (%s): it is replaced", current.get("fingerprint", "?")[:12])
        return True
    ours, theirs = float(new[_VALIDATION_TAG]), float(current[_VALIDATION_TAG])
    better = ours > theirs
    logger.info(
        "validation ndcg@10 %.4f, the champion so far %.4f (%s seed %s): %s",
        ours, theirs, current["model"], current["seed"], "replaced" if better else "it stays",
    )  # fmt: skip
    return better

"""What a server needs of a model's folder: the recommender, how popular its items are, and what it is called."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from ssm4rec.artifacts.names import CHAMPION, MODEL_WEIGHTS, POPULARITY
from ssm4rec.artifacts.popularity import read_popularity
from ssm4rec.artifacts.training import read_config
from ssm4rec.registry.recommending import CatalogRecommender, recommender_folder
from ssm4rec.runtime.errors import InputError

FACTS: Final = ("model", "seed", "dataset", "fingerprint")
"""What is told of a served model, from its config.json."""


@dataclass(frozen=True)
class Champion:
    """A champion that can be served.

    Attributes:
        popularity: of the items 1..V, (V,); None: nobody said.
        facts: by the names of FACTS.
        made: when, in seconds since 1970.
    """

    recommender: CatalogRecommender
    popularity: Tensor | None
    facts: dict[str, str]
    made: float


def read_champion(folder: Path, popularity: Path | None) -> Champion:
    """Read a champion's folder, or a model folder of train_recommender with its ``items.parquet``.

    Args:
        folder: of register_champion or train_recommender.
        popularity: the file; None: the one in the folder, if there is one.

    Raises:
        InputError: a file is missing or damaged, or the popularity names none of the items.
    """
    inside = recommender_folder(folder)
    config = read_config(inside)
    recommender = CatalogRecommender.read(inside, inside)
    path = popularity or inside / POPULARITY
    scores = _scores(path, recommender) if popularity or path.exists() else None
    facts = {name: str(config[name]) for name in FACTS}
    return Champion(recommender, scores, facts, _made(folder, inside))


def _scores(path: Path, recommender: CatalogRecommender) -> Tensor:
    found = read_popularity(path)
    ids = recommender.catalog.item_ids
    if not any(item_id in found for item_id in ids):
        raise InputError(f"{path}: none of its items is one of the model's; name the file of this model's data")
    lowest = min(found.values())  # for those that it does not name
    return torch.tensor([found.get(item_id, lowest) for item_id in ids])


def _made(folder: Path, inside: Path) -> float:
    """Return when a champion was registered, as MLflow's file says; of another folder when its weights were written."""
    if (file := folder / CHAMPION).exists():
        found = re.search(r"(?m)^utc_time_created: '?([-0-9]+ [:.0-9]+)", file.read_text(encoding="utf-8"))
        if found:
            return datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    return (inside / MODEL_WEIGHTS).stat().st_mtime

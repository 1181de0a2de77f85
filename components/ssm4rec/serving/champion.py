"""What a server needs of a model's folder: the recommender, how popular its items are, and what it is called."""

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy
import torch
from torch import Tensor

from ssm4rec.artifacts.names import CHAMPION, MODEL_CONFIG, MODEL_WEIGHTS, POPULARITY
from ssm4rec.artifacts.popularity import read_popularity
from ssm4rec.artifacts.training import read_config
from ssm4rec.registry.item_index import MeasuredIndex, read_item_index
from ssm4rec.registry.recommending import CatalogRecommender, recommender_folder
from ssm4rec.runtime.errors import InputError

FACTS: Final = ("model", "seed", "dataset", "fingerprint")
"""What is told of a served model, from its config.json."""


@dataclass(frozen=True)
class Champion:
    """A champion that can be served.

    Attributes:
        popularity: of the items 1..V, (V,); None: nobody said.
        index: of its items; None: all of them are scored.
        facts: by the names of FACTS.
        made: when, in seconds since 1970.
    """

    recommender: CatalogRecommender
    popularity: Tensor | None
    index: MeasuredIndex | None
    facts: dict[str, str]
    made: float


def read_champion(folder: Path, popularity: Path | None, *, exact: bool = False) -> Champion:
    """Read a champion's folder, or a model folder of train_recommender with its ``items.parquet``.

    Args:
        folder: of register_champion or train_recommender.
        popularity: the file; None: the one in the folder, if there is one.

        exact: leave an index of the items alone.

    Raises:
        InputError: a file is missing or damaged, the library of the index is not installed, or the popularity names
            none of the items.
    """
    inside = recommender_folder(folder)
    if not (inside / MODEL_CONFIG).exists():
        raise InputError(
            f"{folder}: neither a champion ({CHAMPION}) nor a model folder ({MODEL_CONFIG}); name one of a run, such "
            "as runs/FOLDER/champion"
        )
    config = read_config(inside)
    recommender = CatalogRecommender.read(inside, inside)
    path = popularity or inside / POPULARITY
    scores = _scores(path, recommender) if popularity or path.exists() else None
    facts = {name: str(config[name]) for name in FACTS}
    index = None if exact else read_item_index(inside, recommender.model)
    return Champion(recommender, scores, index, facts, _made(folder, inside))


def _scores(path: Path, recommender: CatalogRecommender) -> Tensor:
    """Return a score per item, (V,), no two of them equal: what ties in the file stands in the catalog's order.

    So an answer does not depend on how many items another row of its request wants. Items that the file does not name
    come last.
    """
    found = read_popularity(path)
    ids = recommender.catalog.item_ids
    named = numpy.array([item_id in found for item_id in ids])
    if not named.any():
        raise InputError(f"{path}: none of its items is one of the model's; name the file of this model's data")
    most = float(numpy.finfo(numpy.float32).max) / 2
    if wrong := [item_id for item_id, score in found.items() if abs(score) > most]:
        raise InputError(f"{path}: the score of item {wrong[0]} is {found[wrong[0]]:g}, more than {most:g}; scale them")
    lowest = min(found.values())
    wanted = numpy.array([found.get(item_id, lowest) for item_id in ids])
    scores = wanted.astype(numpy.float32)
    below = numpy.float32(numpy.inf)
    for place in numpy.lexsort((~named, -wanted)):
        below = min(scores[place], numpy.nextafter(below, numpy.float32(-numpy.inf)))
        scores[place] = below
    return torch.from_numpy(scores)


def _made(folder: Path, inside: Path) -> float:
    """Return when a champion was registered, as MLflow's file says; of another folder when its weights were written."""
    if (file := folder / CHAMPION).exists():
        with suppress(ValueError):  # neither UTF-8 nor a time
            found = re.search(r"(?m)^utc_time_created: '?([-0-9]+ [:.0-9]+)", file.read_text(encoding="utf-8"))
            if found:
                return datetime.fromisoformat(found[1]).replace(tzinfo=UTC).timestamp()
    return (inside / MODEL_WEIGHTS).stat().st_mtime

"""One catalog's weights for another: the rows of items that both have, found by the source's ids.

Shapes: V items of the model, U of the other catalog.
"""

from pathlib import Path
from typing import Final

import numpy
import torch

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.artifacts.items import read_items
from ssm4rec.artifacts.names import ITEMS
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.checkpoint import Weights

_FIRST_ROWS: Final = {"item_embedding.weight": 1, "item_embedding.ids.weight": 1, "item_bias": 0}
"""Of weights with a row per item: which row is item 1's. What follows the last item, a mask token, is the model's."""


def places_in(model_folder: Path, catalog: Path) -> Int64s:
    """Return which item of a model each item of a catalog is, from 1, and 0 for one that it does not know, (U,).

    Raise InputError if the model's folder is of an earlier version, which did not keep what its items are called.
    """
    if not (model_folder / ITEMS).exists():
        raise InputError(f"{model_folder / ITEMS}: no such file; a version that kept none trained it: train it again")
    number = {item_id: item for item, item_id in enumerate(read_items(model_folder)[0], start=1)}
    return numpy.array([number.get(item_id, 0) for item_id in read_items(catalog)[0]], dtype=numpy.int64)


def carried(weights: Weights, fresh: Weights, places: Int64s) -> Weights:
    """Return the weights of a model for another catalog.

    Args:
        weights: of the model.
        fresh: of the same one built for the other catalog; items that the model does not know keep its rows of them.
        places: as :func:`places_in` returns them, (U,).
    """
    known = torch.from_numpy(numpy.flatnonzero(places))
    found = {}
    for name, built in fresh.items():
        stored = weights[name]
        if name in _FIRST_ROWS:
            first, table = _FIRST_ROWS[name], built.clone()
            table[first + known] = stored[first - 1 + torch.from_numpy(places)[known]].to(built.device)
            if after := len(built) - first - len(places):
                table[-after:] = stored[-after:]
            stored = table
        found[name] = stored
    return found

"""One catalog's weights for another: the rows of items that both have, found by the source's ids.

Shapes: V items of the model, U of the other catalog.
"""

import logging
from pathlib import Path
from typing import Final

import numpy
import torch

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.artifacts.items import Items, read_items
from ssm4rec.artifacts.names import ITEMS
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.checkpoint import Weights

logger = logging.getLogger(__name__)

_FIRST_ROWS: Final = {"item_embedding.weight": 1, "item_embedding.ids.weight": 1, "item_bias": 0}
"""Of weights with a row per item: which row is item 1's. What follows the last item, a mask token, is the model's."""


def known_items(model_folder: Path) -> Items:
    """Return the items that a model knows.

    Raise InputError if the model's folder is of an earlier version, which did not keep what its items are called.
    """
    if not (model_folder / ITEMS).exists():
        raise InputError(f"{model_folder / ITEMS}: no such file; a version that kept none trained it: train it again")
    return read_items(model_folder)


def places_in(known: Items, catalog: Items) -> Int64s:
    """Return which of the known items each item of a catalog is, from 1, and 0 for one that is none of them, (U,)."""
    number = {item_id: item for item, item_id in enumerate(known.ids, start=1)}
    return numpy.array([number.get(item_id, 0) for item_id in catalog.ids], dtype=numpy.int64)


def in_own_words(known: Items, catalog: Items, places: Int64s) -> Items:
    """Return a catalog for a model that knows items by their words: the known ones are called as the model has them.

    So a model's answers do not depend on whether the data have titles, or those of today. Items that it does not know
    are called as the catalog has them. Two warnings at most: titles that differ, and new items without one.

    Args:
        known: of the model, (V,).
        catalog: (U,).
        places: as :func:`places_in` returns them, (U,).
    """
    titles, words, texts = [*catalog.titles], [*catalog.words], catalog.texts
    differing = []
    for item, place in enumerate(places.tolist()):
        if place:
            titles[item], words[item] = known.titles[place - 1], known.words[place - 1]
            if texts[item] not in ("", known.texts[place - 1]):
                differing.append((catalog.ids[item], texts[item], known.texts[place - 1]))
    if differing:
        item_id, text, own = differing[0]
        logger.warning(
            "%s: %d items have other titles than the model was trained with, whose own count: %r is %r here, not %r",
            catalog.path, len(differing), item_id, text, own,
        )  # fmt: skip
    if untitled := sum(not texts[item] for item in numpy.flatnonzero(places == 0)):
        logger.warning(
            "%s: %d items that the model does not know have no title: nothing is known of them", catalog.path, untitled
        )
    return Items(catalog.path, catalog.ids, titles, words)


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

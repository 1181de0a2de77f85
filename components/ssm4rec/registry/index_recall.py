"""Builds an index of a model's items and measures what answers by it lack, on users of the validation split.

Shapes: n users, B users of a batch, L items that the model reads, V items, K recommendations.
"""

import logging
import time
from typing import Final

import numpy
import torch

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.data.batches import gather_rows, length_buckets
from ssm4rec.evaluation.best_lists import Histories, best_lists
from ssm4rec.evaluation.full_ranking import TOKENS
from ssm4rec.models.recommender import Recommender
from ssm4rec.registry.item_index import ItemIndex, MeasuredIndex, best_by_index
from ssm4rec.runtime.errors import InputError

logger = logging.getLogger(__name__)

_USERS: Final = 1000
_BEST: Final = 10
_LOW: Final = 0.95
_SMALLEST: Final = 50_000
"""Items of the smallest catalog that gets an index: fewer are scored faster whole."""


@torch.no_grad()
def measured_index(model: Recommender, dataset: SequenceDataset) -> MeasuredIndex | None:
    """Return an index of the model's items with its recall@10, which is logged; None: there are too few items.

    The users are at most a thousand of those with a validation target, drawn by a fixed seed, with their items before
    it. The items of a history are left out where a server leaves them out unless asked: without a repeat term.

    Args:
        model: on the CPU; it may know items that the data set lacks.
        dataset: what the model was trained on.

    Raises:
        InputError: usearch is not installed, or nobody has a validation target.
    """
    if (item_count := len(model.item_vectors())) < _SMALLEST:
        logger.warning(
            "no index: %s items, fewer than %s, are scored faster whole", f"{item_count:,}", f"{_SMALLEST:,}"
        )
        return None
    started = time.perf_counter()
    index = ItemIndex.build(model.item_vectors())
    seconds = time.perf_counter() - started
    users = numpy.flatnonzero(dataset.validation_position > 0)
    if not len(users):
        raise InputError("--item-index: nobody has a validation target, on which an index is measured; leave it out")
    if len(users) > _USERS:
        users = numpy.sort(numpy.random.default_rng(0).choice(users, _USERS, replace=False))
    lengths = dataset.validation_position[users].astype(numpy.int64)
    histories = Histories(dataset.items, dataset.offsets[:-1][users], lengths)
    recall = _recall(model, index, histories)
    logger.info(
        "item index: %s items in %.0f s, recall@%d %.4f on %s validation users",
        f"{item_count:,}", seconds, _BEST, recall, f"{len(users):,}",
    )  # fmt: skip
    if recall < _LOW:
        logger.warning(
            "recall@%d is below %.2f: serve with --search exact, or register without --item-index", _BEST, _LOW
        )
    return MeasuredIndex(index, recall, len(users))


def _recall(model: Recommender, index: ItemIndex, histories: Histories) -> float:
    """Return the share of each user's best items by all scores that the answers by the index have, as a mean."""
    masked = model.repeat_term is None
    item_count = len(model.item_vectors())
    exact, _ = best_lists(model, histories, _BEST, masked=masked)  # (n, K)
    shares = numpy.zeros(len(exact))
    read = numpy.minimum(histories.lengths, model.max_length)
    first = histories.starts + histories.lengths - read
    for batch in length_buckets(read, TOKENS["cpu"], len(read)):
        items = torch.from_numpy(gather_rows(histories.items, first[batch], read[batch]))
        hidden = model.next_hidden(items, torch.from_numpy(read[batch]))  # (B, D)
        for place, row in enumerate(batch):
            had = histories.items[histories.starts[row] :][: histories.lengths[row]]
            removed = numpy.zeros(item_count, dtype=bool)
            removed[had - 1] = masked
            found = best_by_index(model, index, hidden[place : place + 1], had, removed, _BEST)
            best = exact[row][exact[row] > 0]
            # What is not searched is scored whole.
            shares[row] = 1.0 if found is None else len({*best} & {*found[0]}) / len(best)
    return float(shares.mean())

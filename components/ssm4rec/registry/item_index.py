"""An approximate index of a recommender's items, for catalogs too large to score whole for each answer.

A graph of near neighbours by inner product (HNSW: Malkov and Yashunin, arXiv 1603.09320; the library usearch), in half
precision. It only proposes items: these, and those of the history, get the model's own scores, repeat term included,
so an answer lacks an item or has it with its right score.

Shapes: n users, V items, D width, H items of a history, C proposed items, K recommendations.
"""

import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssm4rec.artifacts.dataset import Flags, Float32s, Int32s, Int64s
from ssm4rec.artifacts.item_index import INDEXED, WAY_OUT, ItemIndexFacts
from ssm4rec.artifacts.names import ITEM_INDEX, ITEM_INDEX_FACTS
from ssm4rec.evaluation.full_ranking import best_items, check_numbers
from ssm4rec.models.recommender import Recommender
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.extras import Extra, check_installed
from ssm4rec.runtime.files import digest_of

if TYPE_CHECKING:
    from usearch.index import Index

SEARCH: Final = 1
"""The number of the rule of ``best_by_index``, with its settings below and the graph's: another rule has a higher one,
since what was measured of this one is not true of it."""
_PROPOSED: Final = 20
"""Items to choose from for each one wanted: measured with bench_search.py's 211,000 items, few of them in stock, the
index lacks up to a twenty-fifth of the best among 20 and a sixth among 10."""
_AT_LEAST: Final = 200
"""Items to choose from at least: the single best of few in stock is lacking an eighth of the times otherwise."""
_MOST: Final = 1000
"""Items that it proposes at most: among the next thousand it lacks ever more, however many it proposes."""
_SHARE: Final = 250
"""It proposes at most a 250th of the catalog: to score all items costs no more than to find as many."""
_LEFT: Final = 0.85
"""Of what should be left to choose from, if those removed lie anywhere (three standard deviations of 200 of 400)."""


class ItemIndex:
    """The items 1..V by their vectors; several threads may search it.

    >>> index = ItemIndex.build(torch.eye(3))
    >>> index.nearest(torch.tensor([0.0, 1.0, 0.5]), 2)
    array([2, 3])
    """

    def __init__(self, graph: "Index") -> None:
        self._graph = graph
        self._lock = threading.Lock()  # a search uses the graph's workspace

    @classmethod
    def build(cls, vectors: Tensor) -> "ItemIndex":
        """Return the index of the vectors of items 1..V, (V, D), the same for the same vectors.

        Raise InputError if usearch is not installed.
        """
        check_installed(Extra.USEARCH, "--item-index", "leave the flag out")
        found = _scaled(vectors)
        graph = _empty(found.shape[1])
        graph.add(numpy.arange(1, len(found) + 1), found, threads=1)  # the graph depends on the order of adding
        return cls(graph)

    @property
    def width(self) -> int:
        """D."""
        return int(self._graph.ndim)

    def nearest(self, hidden: Tensor, count: int) -> Int64s:
        """Return the items, at most ``count``, of the highest inner products with ``hidden``, (D,), best first."""
        with self._lock:
            found = self._graph.search(_scaled(hidden), count, threads=1)
        items: Int64s = found.keys.astype(numpy.int64)
        return items

    def save(self, path: Path) -> None:
        """Write the file."""
        self._graph.save(path)


@dataclass(frozen=True)
class MeasuredIndex:
    """An index, and how good its answers are (``index_recall.py``).

    Attributes:
        recall, users, search: see ``artifacts/item_index.py``.
    """

    index: ItemIndex
    recall: float
    users: int
    search: int = SEARCH

    def measure(self) -> str:
        """Return how good its answers are, as text, and whether another search than today's gave those."""
        text = f"recall@10 {self.recall:.4f} on {self.users} validation users"
        if self.search == SEARCH:
            return text
        which = "an earlier" if self.search < SEARCH else "a later"
        return f"{text}, measured by {which} search: register the champion again to know today's"

    def write(self, folder: Path) -> None:
        """Write both into a model folder, whose weights and items stand there already."""
        self.index.save(folder / ITEM_INDEX)
        sha256 = {name: digest_of(folder / name) for name in INDEXED}
        ItemIndexFacts(self.index.width, self.recall, self.users, sha256, self.search).write(folder / ITEM_INDEX_FACTS)


def read_item_index(folder: Path, model: Recommender) -> MeasuredIndex | None:
    """Read the index of a model folder, whose model that is; None: it has none.

    Raise InputError if it is damaged, of other items or another model, or if usearch is not installed.
    """
    if not os.path.lexists(folder / ITEM_INDEX_FACTS):  # a link to nothing is not nothing
        return None
    facts = ItemIndexFacts.read(folder / ITEM_INDEX_FACTS)
    facts.check(folder)
    path = folder / ITEM_INDEX
    check_installed(Extra.USEARCH, str(path), "score every item (--search exact)")
    item_count, width = model.item_vectors().shape
    graph = _empty(width)
    try:
        graph.load(path)
    except (RuntimeError, ValueError) as error:
        raise InputError(f"{path}: not a readable index ({reason(error)}); {WAY_OUT}") from None
    if (len(graph), graph.ndim, facts.width) != (item_count, width, width):
        raise InputError(
            f"{path}: of {len(graph):,} items of width {graph.ndim}, {ITEM_INDEX_FACTS} says {facts.width}, but the "
            f"model next to it has {item_count:,} of {width}; {WAY_OUT}"
        )
    return MeasuredIndex(ItemIndex(graph), facts.recall, facts.users, facts.search)


def best_by_index(
    model: Recommender, index: ItemIndex, hidden: Tensor, had: Int32s, removed: Flags, count: int
) -> tuple[Int64s, Float32s] | None:
    """Return the best items for one history among those that the index proposes, and their scores, each (K,).

    The index proposes so many that enough of them are left to choose from if those that are removed or of the history
    lie anywhere. None: these would be too many, or clearly less than was expected are left, since those removed
    are among the best; score all items then.

    Args:
        model: whose items are in the index.
        index: proposes them.
        hidden: (1, D), from which the next item is predicted.
        had: items of the history, (H,), which are proposed too: a repeat term may raise them.
        removed: items that must not be recommended, (V,).
        count: K.

    Raises:
        ScoresNotNumbersError: the model gave a score that is NaN or infinite.
    """
    check_numbers(hidden)
    again = numpy.zeros(len(removed), dtype=bool)  # which are of the history
    again[had - 1] = True
    own = numpy.flatnonzero(again & ~removed) + 1
    left = ~(removed | again)
    wanted = max(_AT_LEAST, _PROPOSED * count)
    proposed = math.ceil(wanted * len(left) / max(1, int(left.sum())))
    if proposed > min(_MOST, len(left) // _SHARE):
        return None
    found = index.nearest(hidden[0], proposed)
    found = found[left[found - 1]]
    if len(found) < _LEFT * wanted:
        return None
    items = numpy.concatenate([found, own])  # (C,)
    cells = torch.arange(len(found), len(items))
    scores = model.score_some(hidden, torch.from_numpy(items), cells)
    check_numbers(scores)
    values, places = best_items(scores.float(), count)
    return items[places[0].numpy() - 1], values[0].numpy()


def _empty(width: int) -> "Index":
    from usearch.index import Index

    return Index(ndim=width, metric="ip", dtype="f16")


def _scaled(vectors: Tensor) -> NDArray[numpy.float32]:
    """Return vectors with 1 as their largest absolute value: the order stays, and half precision holds them."""
    found = vectors.detach().float()
    return (found / found.abs().max().clamp(min=torch.finfo(torch.float32).tiny)).numpy()

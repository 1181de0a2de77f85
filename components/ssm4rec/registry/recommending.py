"""From histories of item ids or titles to recommendations, with one trained recommender, on the CPU.

Shapes: B rows of a request that have a known item, K recommendations.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy

from ssm4rec.artifacts.dataset import Int32s
from ssm4rec.artifacts.items import read_items
from ssm4rec.artifacts.names import CHAMPION, CHAMPION_MODEL
from ssm4rec.evaluation.best_lists import Histories, best_lists
from ssm4rec.models.recommender import Recommender
from ssm4rec.training.model_folder import read_model_for


@dataclass(frozen=True)
class Recommendations:
    """The answer to one history.

    Attributes:
        item_ids: the data set's own, best first; fewer than asked for when the catalog has no more.
        titles: of those items, None where an item has none.
        scores: of those items, the model's logits; comparable within a row only.
        unknown: entries of the history that are not an item's id or title, ``null`` for a missing one; left out.
        error: why there are no recommendations, empty if there are.
    """

    item_ids: list[str] = field(default_factory=list)
    titles: list[str | None] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    error: str = ""


class Catalog:
    """The items 1..V of a data set, to be found by id or title.

    A name is looked up among the ids first, then among the titles as they are written, then among the titles without
    regard to case. Of several items with one title the lowest number is found, the first in ``items.parquet``.

    >>> catalog = Catalog(["50", "181", "7"], ["Star Wars (1977)", None, "star wars (1977)"])
    >>> [catalog.find(name) for name in ("181", "star wars (1977)", "STAR WARS (1977)", "Alien")]
    [2, 3, 1, 0]
    """

    def __init__(self, item_ids: Sequence[str], titles: Sequence[str | None]) -> None:
        self.item_ids = item_ids
        self.titles = titles
        self._by_id = {item_id: item for item, item_id in enumerate(item_ids, start=1)}
        self._by_title: dict[str, int] = {}
        self._by_folded_title: dict[str, int] = {}
        for item, title in enumerate(titles, start=1):
            if title is not None and title.strip():  # a blank entry of a history does not ask for a blank title
                self._by_title.setdefault(title, item)
                self._by_folded_title.setdefault(title.casefold(), item)

    def find(self, name: str) -> int:
        """Return the item of that id or title, 0 if there is none."""
        return self._by_id.get(name) or self._by_title.get(name) or self._by_folded_title.get(name.casefold()) or 0

    def look_up(self, histories: Sequence[Sequence[str | None]]) -> tuple[list[Int32s], list[list[str]]]:
        """Return the known items of every history, and its entries that are none, ``null`` for a missing one."""
        found = [[0 if name is None else self.find(name) for name in history] for history in histories]
        known = [numpy.array([item for item in row if item], dtype=numpy.int32) for row in found]
        unknown = [
            ["null" if name is None else name for name, item in zip(history, row, strict=True) if not item]
            for history, row in zip(histories, found, strict=True)
        ]
        return known, unknown

    def named(self, items: Sequence[int], scores: Sequence[float], unknown: list[str]) -> Recommendations:
        """Return recommended items, best first, by their ids and titles; item 0 stands for none."""
        left = [(item - 1, score) for item, score in zip(items, scores, strict=True) if item]
        return Recommendations(
            item_ids=[self.item_ids[place] for place, _ in left],
            titles=[self.titles[place] for place, _ in left],
            scores=[score for _, score in left],
            unknown=unknown,
        )


class CatalogRecommender:
    """A trained recommender and the catalog in whose words it is asked and answers."""

    def __init__(self, model: Recommender, catalog: Catalog) -> None:
        self.model = model
        self.catalog = catalog

    @property
    def masks(self) -> bool:
        """Whether a request that does not say leaves out the history's own items.

        A model with a repeat term has learned whether people come back to what they had: nothing is masked unless
        asked.
        """
        return self.model.repeat_term is None

    @classmethod
    def read(cls, model_folder: Path, items_folder: Path) -> "CatalogRecommender":
        """Read a model folder, and the ``items.parquet`` of another folder, which may have items added since.

        Raises:
            InputError: a file is missing or damaged, or there are items that the model cannot know
                (``training/model_folder.py``).
        """
        stored, items = read_model_for(read_items(items_folder), model_folder)
        return cls(stored.model, Catalog(items.ids, items.titles))

    def recommend(self, histories: Sequence[Sequence[str | None]], count: int, masked: bool) -> list[Recommendations]:
        """Return the best items for each history.

        A history without a single known item gets no recommendations and an error that names its row: the model has
        learned nothing about an empty history, and what to show then (most popular, say) is the caller's to choose.
        The same goes for a masked history that holds the whole catalog.

        Args:
            histories: item ids or titles, oldest first, None for an entry that has none; the model reads the last
                ``max_length`` known ones.
            count: K, at least 1.
            masked: leave out all of the history's own items, as the protocol ``masked`` does.
        """
        known, unknown = self.catalog.look_up(histories)
        answers = [nothing_known(row, names) for row, names in enumerate(unknown)]
        rows = numpy.flatnonzero([len(items) > 0 for items in known])
        if not len(rows):
            return answers
        flat = numpy.concatenate([known[row] for row in rows])
        lengths = numpy.array([len(known[row]) for row in rows])
        read = Histories(flat, lengths.cumsum() - lengths, lengths)
        items, scores = best_lists(self.model, read, count, masked=masked)  # (B, K) each
        for row, best, best_scores in zip(rows.tolist(), items.tolist(), scores.tolist(), strict=True):
            answers[row] = self._answer(row, best, best_scores, unknown[row])
        return answers

    def _answer(self, row: int, items: list[int], scores: list[float], unknown: list[str]) -> Recommendations:
        if not any(items):
            why = f"all {len(self.catalog.item_ids)} items are in this history, and masked leaves those out"
            return Recommendations(unknown=unknown, error=f"row {row}: nothing to recommend, {why}")
        return self.catalog.named(items, scores, unknown)


def recommender_folder(folder: Path) -> Path:
    """Return the model folder in a folder that register_champion wrote; any other folder as it is."""
    return folder / CHAMPION_MODEL if (folder / CHAMPION).exists() else folder


def nothing_known(row: int, unknown: list[str]) -> Recommendations:
    """Return the answer to a history without a known item."""
    why = "none of its entries is an item's id or title" if unknown else "it is empty"
    return Recommendations(unknown=unknown, error=f"row {row}: nothing to go by in this history, {why}")

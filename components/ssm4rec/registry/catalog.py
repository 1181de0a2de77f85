"""Finds items by what people call them: the data set's item ids, or titles."""

from collections.abc import Sequence


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
        by_title = self._by_title.get(name) or self._by_folded_title.get(name.casefold())
        return self._by_id.get(name) or by_title or 0

"""item_index.json: what an approximate index of a champion's items is, and of which files it was made."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ssm4rec.artifacts.codec import Count, Document, Positive, Share
from ssm4rec.artifacts.names import ITEM_INDEX, ITEM_INDEX_FACTS, ITEMS, MODEL_WEIGHTS
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import digest_of

INDEXED: Final = (ITEM_INDEX, MODEL_WEIGHTS, ITEMS)
"""The index, and the files whose items it holds."""
WAY_OUT: Final = (
    f"register the champion again, or remove {ITEM_INDEX} and {ITEM_INDEX_FACTS}: every item is scored then"
)


@dataclass(frozen=True)
class ItemIndexFacts(Document, what="the facts of an item index", made_by="register_champion --item-index"):
    """What is known of an index, next to it in a model's folder.

    Attributes:
        width: D, of the items' vectors.
        recall: recall@10, the share of the ten best items by all scores that the answers by the index have too.
        users: of validation, over whom that is the mean.
        sha256: of the files INDEXED, by their names.
        search: the number of the rule by which that was measured (``registry/item_index.py``); files of earlier
            versions do not say.
    """

    width: Positive
    recall: Share
    users: Positive
    sha256: dict[str, str]
    search: Count = 0

    def check(self, folder: Path) -> None:
        """Raise InputError if a file is not the one of then: a damaged index would end the process that reads it."""
        if self.sha256.keys() != {*INDEXED}:
            raise InputError(
                f"{folder / ITEM_INDEX_FACTS}: sha256 is of {', '.join(self.sha256) or 'nothing'}, not of "
                f"{', '.join(INDEXED)}; {WAY_OUT}"
            )
        for name, expected in self.sha256.items():
            if not (folder / name).is_file() or digest_of(folder / name) != expected:
                raise InputError(
                    f"{folder / name}: not the file of which {ITEM_INDEX_FACTS} next to it speaks; {WAY_OUT}"
                )

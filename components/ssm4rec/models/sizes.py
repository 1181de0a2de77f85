"""What every recommender's configuration says, and what its recipe starts from."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, get_args

if TYPE_CHECKING:
    from ssm4rec.models.item_words import ItemWords
    from ssm4rec.models.recommender import Recommender

Profile = Literal["smoke", "quick", "paper", "best"]
Histories = Literal["short", "long"]
ItemVectors = Literal["id", "text", "id+text"]
"""What an item's vector is made of: ``item_vectors.py``."""

MAX_LENGTH: Final = {"long": 200, "short": 50}
"""Mamba4Rec: "max sequence length 200 for ML-1M and 50 for the Amazon data sets"."""


def tuned_dropout(histories: Histories) -> float:
    """Return the dropout of ``best`` and ``quick``."""
    return 0.2 if histories == "long" else 0.5


@dataclass(frozen=True, kw_only=True)
class RecommenderConfig(ABC):
    """Sizes of a recommender, its recipe, and how it is built."""

    max_length: int  # the longest history read in training and evaluation, in items; with a mask token, that included
    d_model: int  # D
    n_layers: int  # of a mixer and a feed-forward each
    d_ff: int  # of the feed-forward
    dropout: float  # after the embedding, the mixer, and twice in the feed-forward
    repeat_term: bool = False  # a learned number is added to the scores of items that the user had (``repeat_term.py``)
    item_vectors: ItemVectors = "id"
    id_dropout: float = 0.2  # the share of the items whose own vector a training step leaves out, with id+text
    vocabulary: int = 2048  # words at most, with text
    causal: ClassVar[bool] = True
    """Position t of the output sees items 0..t only, so that it may be trained to predict item t + 1."""

    def __post_init__(self) -> None:
        if min(self.max_length, self.n_layers, self.d_ff) < 1:
            raise ValueError("max_length, n_layers and d_ff are at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")
        if self.item_vectors not in get_args(ItemVectors):
            raise ValueError(
                f"there are no item_vectors called {self.item_vectors!r}: {', '.join(get_args(ItemVectors))}"
            )
        if not 0 <= self.id_dropout < 1:
            raise ValueError(f"id_dropout {self.id_dropout} is not in [0, 1)")
        if self.vocabulary < 256:
            raise ValueError(f"vocabulary {self.vocabulary}: at least 256, the bytes")

    @property
    def masks(self) -> bool:
        """Whether the model has a mask token, as the objective ``cloze`` needs."""
        return False

    @abstractmethod
    def build(self, item_count: int, words: "ItemWords | None" = None) -> "Recommender":
        """Return a freshly initialized recommender of ``item_count`` items.

        ``words`` are theirs; raise ValueError if there are none, and ``item_vectors`` is not ``id``.
        """

    @classmethod
    @abstractmethod
    def recipe(cls, profile: Profile, histories: Histories) -> tuple[Self, dict[str, Any]]:
        """Return the sizes, and the fields of TrainingSettings that differ from the other recommenders'.

        ``recipes/recommenders.py`` says what profiles and histories are.
        """

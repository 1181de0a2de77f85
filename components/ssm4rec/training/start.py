"""What a training starts from, besides recipe and data: what its items are called, and the weights of another one."""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset
from ssm4rec.artifacts.items import read_items, read_texts
from ssm4rec.artifacts.names import ITEMS
from ssm4rec.models.item_words import ItemWords, item_words, train_tokenizer
from ssm4rec.models.recommender import Recommender
from ssm4rec.models.sizes import RecommenderConfig
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.catalogs import carried
from ssm4rec.training.checkpoint import Weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class InitialWeights:
    """The weights of a trained recommender, for the items of other data.

    Attributes:
        places: which of its items each item of the data is, from 1, and 0 for a new one, (V,).
        digest: identifies the weights.
        same_items: whether items were looked for by the source's ids.
    """

    weights: Weights
    places: Int64s
    digest: str
    same_items: bool = True


@dataclass(frozen=True)
class Start:
    """What a training starts from.

    Attributes:
        items: the file that says what the items are called, which the model folder keeps; None: it keeps none.
        words: of the items, where their vectors are made of them.
        initial: the weights to begin with; None: those that the seed draws.
    """

    items: Path | None = None
    words: ItemWords | None = None
    initial: InitialWeights | None = None

    def identity(self) -> dict[str, str]:
        """Return what a checkpoint must share with it, nothing for items of their own vectors and drawn weights."""
        found = {"words": self.words.digest} if self.words else {}
        if self.initial:
            found["initial_model"] = self.initial.digest
            if not self.initial.same_items:
                found["same_items"] = "false"
        return found

    def model(self, config: RecommenderConfig, dataset: SequenceDataset) -> Recommender:
        """Return the recommender as it is before the first step.

        Items without a training event, unless an initial model knows them, and items that are new to it have nothing
        but their words; where vectors are the items' own alone, these are drawn.
        """
        made = config.build(dataset.item_count, self.words)
        unknown = dataset.training_counts()[1:] == 0
        if self.initial is None:
            if self.words:
                made.forget(numpy.flatnonzero(unknown) + 1)
            return made
        made.forget(numpy.flatnonzero(self.initial.places == 0) + 1)
        made.load_state_dict(carried(self.initial.weights, made.state_dict(), self.initial.places))
        return made


def read_words_of(config: RecommenderConfig, dataset: SequenceDataset, folder: Path) -> ItemWords | None:
    """Return the words of a dataset folder's items, None if their vectors are not made of any.

    The tokenizer is trained on what items with training events are called. Raise InputError if no such item has a
    title.
    """
    if config.item_vectors == "id":
        return None
    texts = read_texts(folder)
    trained = numpy.flatnonzero(dataset.training_counts()[1:])
    known = [texts[place] for place in trained if texts[place]]
    if not known:
        raise InputError(
            f"--overrides model.item_vectors={config.item_vectors}: {folder / ITEMS} has no titles; prepare the data "
            "with --items-source, a file of item ids and titles, or leave it out"
        )
    if missing := sum(not text for text in texts):
        logger.warning("%s of %s items have no title: nothing is known of them but their events", missing, len(texts))
    return item_words(texts, train_tokenizer(known, config.vocabulary))


def read_start(config: RecommenderConfig, dataset: SequenceDataset, folder: Path) -> Start:
    """Return what a training on a dataset folder starts from, without an initial model; see :func:`read_words_of`."""
    read_items(folder)  # checks the file that is kept
    return Start(folder / ITEMS, read_words_of(config, dataset, folder))


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()

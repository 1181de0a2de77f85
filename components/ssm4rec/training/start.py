"""What a training starts from, besides recipe and data: what its items are called, and the weights of another one."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset
from ssm4rec.artifacts.items import Items, read_items
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
        items: what the items are called, which the model folder keeps; None: it keeps none.
        words: of the items, where their vectors are made of them.
        initial: the weights to begin with; None: those that the seed draws.
    """

    items: Items | None = None
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


def titles_of_trained(config: RecommenderConfig, dataset: SequenceDataset, items: Items) -> list[str]:
    """Return what the items with training events are called, of which words are learned; raise InputError if nothing.

    ``items`` are those of the data.
    """
    trained = numpy.flatnonzero(dataset.training_counts()[1:])
    if titles := [items.texts[place] for place in trained if items.texts[place]]:
        return titles
    raise InputError(
        f"--overrides model.item_vectors={config.item_vectors}: {items.path} has no titles; prepare the data "
        "with --items-source, a file of item ids and titles, or leave it out"
    )


def read_start(config: RecommenderConfig, dataset: SequenceDataset, folder: Path) -> Start:
    """Return what a training on a dataset folder starts from, without an initial model.

    The tokenizer is trained on what items with training events are called. Raise InputError if words are wanted and no
    such item has a title.
    """
    items = read_items(folder)
    if config.item_vectors == "id":
        return Start(items)
    titles = titles_of_trained(config, dataset, items)
    if missing := items.texts.count(""):
        logger.warning(
            "%s of %s items have no title: nothing is known of them but their events", missing, len(items.ids)
        )
    return Start(items, item_words(items.texts, train_tokenizer(titles, config.vocabulary)))

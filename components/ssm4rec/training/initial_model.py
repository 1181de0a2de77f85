"""Start a training from a model folder: last night's model on today's events, or one of a larger data set."""

from dataclasses import asdict
from pathlib import Path
from typing import Final

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.items import read_items
from ssm4rec.artifacts.names import MODEL_TOKENIZER, MODEL_WEIGHTS
from ssm4rec.models.item_words import read_words
from ssm4rec.models.sizes import RecommenderConfig
from ssm4rec.models.table import config_from_json
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import digest_of
from ssm4rec.training.catalogs import in_own_words, known_items, places_in
from ssm4rec.training.checkpoint import first_difference
from ssm4rec.training.model_folder import read_model
from ssm4rec.training.start import InitialWeights, Start, read_start, titles_of_trained

_FREE: Final = ("dropout", "id_dropout", "vocabulary")
"""Fields of the sizes that no weight depends on; the words are those of the initial model."""


def start_from(
    initial: Path | None,
    name: str,
    config: RecommenderConfig,
    dataset: SequenceDataset,
    folder: Path,
    *,
    same_items: bool = True,
) -> Start:
    """Return what the training of a model on a dataset folder starts from.

    Items are found by the source's ids: those that the initial model knows keep their vectors; without ``same_items``
    it knows none. Raise InputError if it is another model or of other sizes, its folder does not say what its items are
    called, nothing of it fits, or the data have no titles for a model of words.
    """
    if initial is None:
        return read_start(config, dataset, folder)
    stored = read_model(initial)
    if stored.config["model"] != name:
        raise InputError(f"--initial-model {initial}: a {stored.config['model']}, not a {name}; train its model")
    theirs = asdict(config_from_json(name, stored.config["recipe"]["model"]))
    ours = {**asdict(config), **{free: theirs[free] for free in _FREE}}
    if difference := first_difference(theirs, ours, "model"):
        raise InputError(f"--initial-model {initial}: {difference}; set it with --overrides as it is there")
    items, known = read_items(folder), known_items(initial)
    places = places_in(known, items) * same_items
    if not places.any() and config.item_vectors == "id":
        told = "" if same_items else ", with --same-items false"
        raise InputError(
            f"--initial-model {initial}: knows none of the items of {items.path}, such as {items.ids[0]!r}{told}; only "
            "a model of words (model.item_vectors=text or id+text) can start from other items"
        )
    words = None
    if "words" in stored.config:
        titles_of_trained(config, dataset, items)  # checks that there are any
        items = in_own_words(known, items, places)
        words = read_words(initial / MODEL_TOKENIZER, items.texts)
    weights = InitialWeights(dict(stored.model.state_dict()), places, digest_of(initial / MODEL_WEIGHTS), same_items)
    return Start(items, words, weights)

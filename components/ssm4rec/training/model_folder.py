"""The model folder: what a trained recommender is on disk.

- ``model.safetensors``: the weights of the best epoch, or those of ``refit`` (``settings.py``).
- ``items.parquet``: what the items are called, that of the dataset folder; folders of before 2026-11-30 have none.
- ``tokenizer.json``: of the items' words, where their vectors are made of them.
- ``config.json``: ``model``, ``profile``, ``label`` (in a study of several such trainings), ``seed``, the data set's
  ``dataset``, ``fingerprint`` and ``items``, the ``recipe``, ``parameters`` and ``parameters_without_embeddings``, and
  ``training``: ``epochs``, ``best_epoch``, ``stopped``, ``validation_ndcg@10`` (history unmasked), ``cpu_seconds``,
  ``seconds`` of the wall clock, ``package_joules`` and ``gpu_joules`` where the machine counts them
  (``runtime/energy.py``), what it ran on: ``device``, ``precision``, ``compiled``, ``processes``; and where they were
  asked for, ``flops``, ``output_flops`` and ``targets_seen`` (``flops.py``). In a champion with items added since the
  training, ``added_items``: how many of the last ``items`` these are.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ssm4rec.artifacts.items import Items, read_items
from ssm4rec.artifacts.names import ITEMS, MODEL_CONFIG, MODEL_TOKENIZER, MODEL_WEIGHTS
from ssm4rec.artifacts.training import read_config
from ssm4rec.models.earlier_weights import weights_of_today
from ssm4rec.models.item_words import ItemWords, read_words
from ssm4rec.models.recommender import Recommender, parameter_counts
from ssm4rec.models.table import config_from_json
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.files import whole_folder, write_json
from ssm4rec.training.catalogs import carried, in_own_words, places_in
from ssm4rec.training.loop import Trained
from ssm4rec.training.settings import Recipe
from ssm4rec.training.task import Task


@dataclass(frozen=True)
class StoredModel:
    """A model folder that was read: the recommender, ready to score, and its config.json."""

    model: Recommender
    config: dict[str, Any]


def write_model(
    folder: Path, task: Task[Recipe], trained: Trained, computed: dict[str, Any], *, profile: str, label: str = ""
) -> dict[str, Any]:
    """Write the model folder, whole or not at all, and return its config.json; ``computed`` says what it ran on."""
    total, without_embeddings = parameter_counts(trained.model)
    progress = trained.progress
    known = {name: round(value, 1) for name, value in asdict(progress.spent).items() if value is not None}
    config = {
        **task.identity(),
        "profile": profile,
        "label": label,
        "items": task.dataset.item_count,
        "parameters": total,
        "parameters_without_embeddings": without_embeddings,
        "training": {
            "epochs": len(progress.epochs),
            "best_epoch": progress.best_epoch,
            "stopped": trained.stopped,
            "validation_ndcg@10": progress.best.validation_ndcg_10,
            "cpu_seconds": round(progress.cpu_seconds, 1),
            **known,
            **computed,
        },
    }
    with whole_folder(folder, "train_recommender") as partial:
        write_weights(partial, trained.model, config)
        if task.start.items:
            task.start.items.write(partial / ITEMS)
        if task.start.words:
            (partial / MODEL_TOKENIZER).write_text(task.start.words.tokenizer, encoding="utf-8")
    return config


def read_model(folder: Path) -> StoredModel:
    """Read a model folder; raise InputError if a file is missing or damaged, or they are of two models."""
    config, weights_path = read_config(folder), folder / MODEL_WEIGHTS
    try:
        weights = weights_of_today(load_file(weights_path))
    except FileNotFoundError:
        raise InputError(f"{weights_path}: no such file; train the model again") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{weights_path}: damaged ({reason(error)}); train the model again") from None
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise InputError(f"{weights_path}: weights {name} are not finite; train the model again")
    words = _words(folder, config)
    expected = _shapes(folder, config, words, len(weights))
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        name = min(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise InputError(
            f"{weights_path}: weights of another model than the {config['model']} that {MODEL_CONFIG} next to it "
            f"describes ({name} is {found.get(name, 'missing')}, not {expected.get(name, 'there')}); train the model "
            "again"
        )
    model = config_from_json(config["model"], config["recipe"]["model"]).build(config["items"], words)
    model.load_state_dict(weights)
    return StoredModel(model.eval(), config)


def read_model_for(catalog: Items, folder: Path) -> tuple[StoredModel, Items]:
    """Read a model folder for the items of a catalog, whose numbers of them it takes on; return how it calls them, too.

    A model that knows items by their words keeps its own of those that it knows (:func:`in_own_words`); others have
    their words alone, and its config says how many, ``added_items``. Raise InputError if :func:`read_model` does, the
    model knows items by their ids alone and there are others, or its folder is of before 2026-11-30, does not say what
    its items are called, and there are more or fewer.
    """
    stored = read_model(folder)
    if not (folder / ITEMS).exists():
        if (count := len(catalog.ids)) != stored.config["items"]:
            raise InputError(
                f"{catalog.path}: {count} items, but the model in {folder} knows {stored.config['items']}; use the "
                "data that it was trained on"
            )
        return stored, catalog
    known = read_items(folder)
    places = places_in(known, catalog)
    new = numpy.flatnonzero(places == 0)
    if "words" in stored.config:
        catalog = in_own_words(known, catalog, places)
    elif len(new):
        raise InputError(
            f"{catalog.path}: {len(new)} items, such as {catalog.ids[new[0]]!r}, are not among those of {folder}, "
            "which knows items by their ids alone; train it again, with --overrides model.item_vectors=id+text if "
            "items are to be added later"
        )
    if catalog.ids == known.ids:
        return stored, catalog
    words = read_words(folder / MODEL_TOKENIZER, catalog.texts) if "words" in stored.config else None
    model = config_from_json(stored.config["model"], stored.config["recipe"]["model"]).build(len(places), words)
    model.forget(new + 1)
    model.load_state_dict(carried(stored.model.state_dict(), model.state_dict(), places))
    digest = {"words": words.digest} if words else {}
    config = {**stored.config, "items": len(places), "added_items": len(new), **digest}
    return StoredModel(model.eval(), config), catalog


def write_weights(folder: Path, model: Recommender, config: dict[str, Any]) -> None:
    """Write the weights and the config.json of a model into an existing folder."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    (folder / MODEL_WEIGHTS).write_bytes(save(weights))
    write_json(folder / MODEL_CONFIG, config)


def _words(folder: Path, config: dict[str, Any]) -> ItemWords | None:
    """Return the words of the items, where their vectors are made of them."""
    if "words" not in config:
        return None
    words = read_words(folder / MODEL_TOKENIZER, read_items(folder).texts)
    if words.digest != config["words"]:
        raise InputError(
            f"{folder / ITEMS}: not the titles, or {MODEL_TOKENIZER} next to it not the tokenizer, that the model was "
            "trained with; train it again"
        )
    return words


def _shapes(folder: Path, config: dict[str, Any], words: ItemWords | None, tensors: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a configuration's weights; nothing is computed or allocated."""
    try:
        described = config_from_json(config["model"], config["recipe"]["model"])
        if described.n_layers > tensors:
            raise ValueError(f"{described.n_layers} layers, {MODEL_WEIGHTS} next to it has {tensors} tensors")
        with torch.device("meta"):
            model = described.build(config["items"], words)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MODEL_CONFIG}: not the config of a recommender ({reason(error)}); train it again"
        ) from None
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}

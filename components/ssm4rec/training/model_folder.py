"""The model folder: what a trained recommender is on disk.

- ``model.safetensors``: the weights of the best epoch, or those of ``refit`` (``settings.py``).
- ``config.json``: ``model``, ``profile``, ``label`` (in a study of several such trainings), ``seed``, the data set's
  ``dataset``, ``fingerprint`` and ``items``, the ``recipe``, ``parameters`` and ``parameters_without_embeddings``, and
  ``training``: ``epochs``, ``best_epoch``, ``stopped``, ``validation_ndcg@10`` (history unmasked), ``cpu_seconds``,
  ``seconds`` of the wall clock, ``package_joules`` and ``gpu_joules`` where the machine counts them
  (``runtime/energy.py``), and what it ran on: ``device``, ``precision``, ``compiled``, ``processes``.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ssm4rec.artifacts.codec import read_document
from ssm4rec.artifacts.names import MODEL_CONFIG, MODEL_WEIGHTS
from ssm4rec.artifacts.training import ModelConfig
from ssm4rec.models.earlier_weights import weights_of_today
from ssm4rec.models.recommender import Recommender, parameter_counts
from ssm4rec.models.table import config_from_json
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.files import whole_folder, write_json
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
        weights = {name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()}
        (partial / MODEL_WEIGHTS).write_bytes(save(weights))
        write_json(partial / MODEL_CONFIG, config)
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
    expected = _shapes(folder, config, len(weights))
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found != expected:
        name = min(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise InputError(
            f"{weights_path}: weights of another model than the {config['model']} that {MODEL_CONFIG} next to it "
            f"describes ({name} is {found.get(name, 'missing')}, not {expected.get(name, 'there')}); train the model "
            "again"
        )
    model = config_from_json(config["model"], config["recipe"]["model"]).build(config["items"])
    model.load_state_dict(weights)
    return StoredModel(model.eval(), config)


def read_config(folder: Path) -> dict[str, Any]:
    """Read a model folder's config.json; raise InputError if it is missing, or is not the config of a recommender."""
    config: dict[str, Any] = read_document(
        folder / MODEL_CONFIG, cast("Any", ModelConfig), "the config of a recommender", "train_recommender"
    )
    return config


def _shapes(folder: Path, config: dict[str, Any], tensors: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of a configuration's weights; nothing is computed or allocated."""
    try:
        described = config_from_json(config["model"], config["recipe"]["model"])
        if described.n_layers > tensors:
            raise ValueError(f"{described.n_layers} layers, {MODEL_WEIGHTS} next to it has {tensors} tensors")
        with torch.device("meta"):
            model = described.build(config["items"])
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MODEL_CONFIG}: not the config of a recommender ({reason(error)}); train it again"
        ) from None
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}

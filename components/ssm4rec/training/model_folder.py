"""The model folder: what a trained recommender is on disk.

- ``model.safetensors``: the weights of the best epoch, or those of ``refit`` (``settings.py``).
- ``config.json``: ``model``, ``profile``, ``seed``, the data set's ``dataset``, ``fingerprint`` and ``items``, the
  ``recipe``, ``parameters`` and ``parameters_without_embeddings``, and ``training``: ``epochs``, ``best_epoch``,
  ``stopped``, ``validation_ndcg@10``, ``validation_protocol``, ``cpu_seconds``, and what it ran on: ``device``,
  ``precision``, ``compiled``, ``processes``.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ssm4rec.contracts import MODEL_CONFIG, MODEL_WEIGHTS
from ssm4rec.errors import InputError
from ssm4rec.files import read_json, whole_folder, write_json
from ssm4rec.models.build import build_model, config_from_json
from ssm4rec.models.recommender import Recommender, parameter_counts
from ssm4rec.training.loop import Trained
from ssm4rec.training.settings import Recipe
from ssm4rec.training.task import Task


@dataclass(frozen=True)
class StoredModel:
    """A model folder that was read: the recommender, ready to score, and its config.json."""

    model: Recommender
    config: dict[str, Any]


def write_model(
    folder: Path, task: Task[Recipe], trained: Trained, profile: str, computed: dict[str, Any]
) -> dict[str, Any]:
    """Write the model folder, whole or not at all, and return its config.json; ``computed`` says what it ran on."""
    total, without_embeddings = parameter_counts(trained.model)
    progress = trained.progress
    config = {
        **task.identity(),
        "profile": profile,
        "items": task.dataset.item_count,
        "parameters": total,
        "parameters_without_embeddings": without_embeddings,
        "training": {
            "epochs": len(progress.epochs),
            "best_epoch": progress.best_epoch,
            "stopped": trained.stopped,
            "validation_ndcg@10": progress.epochs[progress.best_epoch - 1].validation_ndcg_10,
            "validation_protocol": task.recipe.training.protocol,
            "cpu_seconds": round(progress.cpu_seconds, 1),
            **computed,
        },
    }
    with whole_folder(folder) as partial:
        weights = {name: tensor.cpu().contiguous() for name, tensor in trained.model.state_dict().items()}
        (partial / MODEL_WEIGHTS).write_bytes(save(weights))
        write_json(partial / MODEL_CONFIG, config)
    return config


def read_model(folder: Path) -> StoredModel:
    """Read a model folder.

    Raises:
        InputError: a file is missing or damaged, or weights and config.json are of two models.
    """
    config: dict[str, Any] = read_json(folder / MODEL_CONFIG)
    weights_path = folder / MODEL_WEIGHTS
    try:
        model = build_model(config_from_json(config["model"], config["recipe"]["model"]), config["items"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{folder / MODEL_CONFIG}: not the config of a recommender ({error}); train it again"
        ) from None
    try:
        model.load_state_dict(load_file(weights_path))
    except FileNotFoundError:
        raise InputError(f"{weights_path}: no such file; train the model again") from None
    except SafetensorError as error:
        raise InputError(f"{weights_path}: damaged ({error}); train the model again") from None
    except RuntimeError:
        raise InputError(
            f"{weights_path}: weights of another model than the {config['model']} that {MODEL_CONFIG} beside it "
            "describes; train the model again"
        ) from None
    return StoredModel(model.eval(), config)

"""Checks of a language model's folder before and after transformers reads it.

transformers and tokenizers take most of what a damaged file says, fail with errors of any kind, or draw missing weights
at random. What is wrong is found here, and the file is named.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel

from ssm4rec.runtime.errors import InputError, reason

_from_config: Callable[..., PreTrainedModel] = AutoModelForCausalLM.from_config  # transformers leaves it untyped
_LAYERS: Final = ("num_hidden_layers", "n_layer", "num_layers")


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn whatever a library raises while it reads files into one line that begins with ``what`` they are.

    tokenizers' panics are no ``Exception``. Ours, a user's interruption and a full GPU keep their own words.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError, torch.cuda.OutOfMemoryError):
        raise
    except BaseException as error:
        raise InputError(f"{what} ({reason(error)}); get or train it again") from None


def check_json(folder: Path, *names: str) -> None:
    """Raise InputError if a file that is there is not a JSON object, or has numbers that are none."""
    for name in names:
        path = folder / name
        if not path.exists():
            continue
        try:
            document = json.loads(path.read_text(encoding="utf-8"), parse_constant=partial(_constant, name))
        except (ValueError, OSError, RecursionError) as error:
            raise InputError(f"{path}: not a JSON file ({reason(error)}); get or train it again") from None
        if not isinstance(document, dict):
            raise InputError(f"{path}: not a JSON object; get or train it again")


def _constant(file: str, text: str) -> float:
    if text == "NaN" or file != "config.json":  # Mamba2's has infinity
        raise ValueError(f"{text} is not a number")
    return float(text)


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors in a folder's safetensors files; raise InputError if one is damaged."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(str(path), framework="pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path}: damaged ({reason(error)}); get or train it again") from None
    return shapes


def read_model_config(folder: Path) -> PreTrainedConfig:
    """Return a model folder's configuration, whose sizes are those of the weights.

    Raise InputError if config.json, or a file of weights, is damaged, or they are of two models.
    """
    path = folder / "config.json"
    check_json(folder, path.name, "generation_config.json", "model.safetensors.index.json")
    shapes = tensor_shapes(folder)
    with reading(f"{path}: not the configuration of a causal language model"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
        for name in _LAYERS:
            if (layers := getattr(config, name, 0)) and layers > len(shapes):
                raise ValueError(f"{name} is {layers}, the weights are {len(shapes)} tensors")
        if getattr(config, "quantization_config", None) is None:
            with torch.device("meta"):
                described = _from_config(config, trust_remote_code=False)
            for name, tensor in described.state_dict().items():
                if shapes.get(name, tensor.shape) != tensor.shape:
                    raise ValueError(f"{name} is {tuple(tensor.shape)}, in the weights {shapes[name]}")
    return config


def check_weights(model: nn.Module, where: Path, missing: Any = ()) -> None:
    """Raise InputError if weights were missing in the files of ``where``, or are not finite."""
    if missing:
        raise InputError(f"{where}: weights {min(missing)} are missing; get or train it again")
    for name, weights in model.named_parameters():
        if weights.is_floating_point() and not weights.isfinite().all():
            raise InputError(f"{where}: weights {name} are not finite; get or train it again")

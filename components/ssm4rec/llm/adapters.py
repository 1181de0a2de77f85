"""The adapter folder: what a fine-tuned or aligned ranker is on disk.

- ``adapter_model.safetensors`` and ``adapter_config.json``: peft's, the LoRA matrices;
- ``ranker.json``: ``source`` of the language model and its ``quantization``, the ``stage`` that wrote the folder
  (``finetune_llm`` or ``align_llm``), the data set's ``dataset`` and ``fingerprint``, ``seed``, ``profile``, the
  ``retriever`` whose candidates validated it, the ``recipe`` and ``training``, figures of how it went.
"""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from safetensors import SafetensorError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ssm4rec.contracts import RANKER
from ssm4rec.data.dataset import SequenceDataset
from ssm4rec.errors import InputError
from ssm4rec.files import read_json, whole_folder, write_json
from ssm4rec.llm.language_models import (
    language_model_folder,
    load_language_model,
    load_tokenizer,
    recompute_activations,
)
from ssm4rec.llm.settings import LoraSettings
from ssm4rec.llm.sources import Quantization


@dataclass(frozen=True)
class RankerFacts:
    """ranker.json as an object; the fields are described above."""

    source: str
    quantization: Quantization
    stage: str
    dataset: str
    fingerprint: str
    seed: int
    profile: str
    retriever: str
    recipe: dict[str, Any]
    training: dict[str, Any]

    @classmethod
    def read(cls, folder: Path, dataset: SequenceDataset) -> "RankerFacts":
        """Read an adapter folder's ranker.json.

        Raises:
            InputError: it is not one, or of an adapter trained on another data set.
        """
        document = read_json(folder / RANKER)
        try:
            facts = cls(**document)
        except TypeError as error:
            raise InputError(f"{folder / RANKER}: not the description of a ranker ({error}); train it again") from None
        if facts.fingerprint != dataset.fingerprint:
            raise InputError(
                f"{folder}: trained on {facts.dataset} ({facts.fingerprint[:12]}), but the data set given is "
                f"{dataset.name} ({dataset.fingerprint[:12]}); rank the data trained on"
            )
        return facts


@dataclass(frozen=True)
class Ranker:
    """A language model with an adapter, and its tokenizer."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase


def new_ranker(
    source: str, quantization: Quantization, lora: LoraSettings, cache_dir: Path, device: torch.device
) -> Ranker:
    """Return a language model with fresh LoRA matrices, which change nothing yet.

    Raises:
        InputError: the model cannot be had, or has no layers called as ``lora.modules`` says.
    """
    folder = language_model_folder(source, cache_dir)
    tokenizer, base = load_tokenizer(folder), _base(folder, quantization, device)
    modules: str | list[str] = lora.modules if lora.modules == "all-linear" else lora.modules.split("+")
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules,
        task_type="CAUSAL_LM",
    )
    try:
        with _old_names():
            model = get_peft_model(base, config)
        # Not the folder of this machine that peft has noted.
        model.peft_config["default"].base_model_name_or_path = source
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"language model {source}: LoRA does not fit it ({reason}); set lora.modules") from None
    return Ranker(model, tokenizer)


def load_ranker(
    facts: RankerFacts, folder: Path, cache_dir: Path, device: torch.device, trainable: bool = False
) -> Ranker:
    """Return the ranker of an adapter folder.

    Raises:
        InputError: the language model cannot be had, or the adapter is damaged or of another model.
    """
    base_folder = language_model_folder(facts.source, cache_dir)
    tokenizer, base = load_tokenizer(base_folder), _base(base_folder, facts.quantization, device)
    try:
        with _old_names():
            model = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"{folder}: no adapter for {facts.source} ({reason}); train it again") from None
    return Ranker(model, tokenizer)


def write_adapter(folder: Path, model: PeftModel, facts: RankerFacts) -> None:
    """Write the adapter folder, whole or not at all."""
    with whole_folder(folder, facts.stage) as partial:
        # The embeddings are frozen; peft would ask the hub whether they were resized.
        model.save_pretrained(str(partial), safe_serialization=True, save_embedding_layers=False)
        (partial / "README.md").unlink(missing_ok=True)
        write_json(partial / RANKER, asdict(facts))


@contextmanager
def _old_names() -> Iterator[None]:
    """Hide that peft 0.21 asks transformers 5 for a property by its old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
        yield


_MANY: Final = 10**9
"""Weights from which on a model's activations are too many to keep."""

_prepared: Callable[..., PreTrainedModel] = prepare_model_for_kbit_training  # peft leaves it untyped


def _base(folder: Path, quantization: Quantization, device: torch.device) -> PreTrainedModel:
    model = load_language_model(folder, device, quantization)
    if quantization == "nf4":
        with _old_names():
            return _prepared(model, use_gradient_checkpointing=device.type == "cuda")
    if device.type == "cuda" and model.num_parameters() >= _MANY:
        recompute_activations(model)
    return model

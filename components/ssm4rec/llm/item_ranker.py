"""The ranker whose tokens are items: how it begins, how it is asked, and its folder.

The folder holds all that a ranking needs; the language model is not asked for again:

- ``model.safetensors``: the trained upper layers and the items' vectors; ``config.json``: the layers' sizes, as
  transformers reads a Llama's;
- ``ranker.json``: what it is (:class:`RankerFacts`).
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.artifacts.names import MODEL_CONFIG, MODEL_WEIGHTS, RANKER
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.data.batches import length_buckets
from ssm4rec.llm.item_model import START, ItemModel
from ssm4rec.llm.item_settings import ItemSettings
from ssm4rec.llm.language_models import language_model_folder, load_both
from ssm4rec.llm.model_files import check_json, check_weights, reading, tensor_shapes
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.validation_callback import weights_file
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import whole_folder, write_json

_BEFORE: Final = "Title:"
"""What a title follows when its states are read: attention needs a first token that says little."""
_CELLS: Final = 2048
"""Tokens of a batch of titles, padding included."""


@dataclass(frozen=True)
class ItemPrompts:
    """A prompt is the start and at most so many of the user's latest items; an answer is an item."""

    history: int

    @property
    def ending(self) -> list[int]:
        """Nothing: an answer is one token."""
        return []

    def tokens(self, history: Sequence[int], candidates: Sequence[int]) -> list[int]:
        """Return the prompt of a history; it is the same whatever the candidates."""
        del candidates
        return [START, *history[max(0, len(history) - self.history) :]]

    def answers(self, candidates: Sequence[int]) -> list[int]:
        """Return the candidates: each is its own token."""
        return list(candidates)

    def impossible(self, history: Sequence[int]) -> list[int]:
        """Return the start and the items of the whole history: a retriever's candidates have none of these."""
        return [START, *sorted(set(history))]


@dataclass(frozen=True)
class ItemRanker:
    """A model over items."""

    model: ItemModel
    settings: ItemSettings

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """A tokenizer in name only, for trl, which asks it for the token that pads."""
        start = "<start>"
        fast: Callable[..., PreTrainedTokenizerBase] = PreTrainedTokenizerFast  # untyped there
        return fast(tokenizer_object=Tokenizer(models.WordLevel({start: START})), pad_token=start)

    def base(self) -> None:
        """Return nothing: before its training it knows no more of an item than how popular it is."""

    def prompts(self, titles: Sequence[str], form: PromptFormat) -> ItemPrompts:
        """Return how it is asked; titles were read when it began."""
        del titles, form
        return ItemPrompts(self.settings.history)

    def write(self, folder: Path, facts: RankerFacts) -> None:
        """Write its folder, whole or not at all."""
        with whole_folder(folder, facts.stage) as partial:
            (partial / MODEL_WEIGHTS).write_bytes(weights_file(self.model.state_dict()))
            self.model.config.to_json_file(str(partial / MODEL_CONFIG))
            write_json(partial / RANKER, asdict(facts))


@dataclass(frozen=True)
class Catalog:
    """What an item ranker begins with.

    Attributes:
        titles: by item, entry 0 unused.
        counts: training interactions, (V + 1,).
        vectors: the retriever's, (V, width), which the items' own begin with; None: these are drawn.
    """

    titles: Sequence[str]
    counts: Int64s
    vectors: Tensor | None = None


def new_item_ranker(
    source: str, settings: ItemSettings, catalog: Catalog, cache_dir: Path, device: torch.device
) -> ItemRanker:
    """Return a ranker before its training, in float32; torch's generator draws its new weights.

    Raise InputError if the language model cannot be had, is no Llama, or has too few layers.
    """
    tokenizer, whole = load_both(language_model_folder(source, cache_dir), device)
    if not isinstance(whole, LlamaForCausalLM):
        raise InputError(
            f"language model {source}: of type {whole.config.model_type}, and ranker=items is made of the layers of a "
            "llama (SmolLM2, Llama); name one of these, or choose ranker=letters"
        )
    lower = whole.config.num_hidden_layers - settings.layers
    if lower < 1:
        raise InputError(
            f"language model {source}: has {whole.config.num_hidden_layers} layers, items.layers={settings.layers} "
            "leaves none to read titles with; lower it"
        )
    if catalog.vectors is not None:
        settings = replace(settings, id_width=catalog.vectors.shape[1])
    config = copy.deepcopy(whole.config)
    for name in ("architectures", "bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, None)
    config.num_hidden_layers, config.vocab_size = settings.layers, len(catalog.counts)
    config.name_or_path, config.dtype, config.tie_word_embeddings = "", torch.float32, False
    model = ItemModel(config, len(catalog.counts) - 1, settings)
    states = title_states(whole, tokenizer, catalog.titles, settings)
    for own, theirs in zip(model.model.layers, whole.model.layers[lower:], strict=True):
        own.load_state_dict(theirs.float().state_dict())
    model.model.norm.load_state_dict(whole.model.norm.float().state_dict())
    model.items.initialize(states, torch.from_numpy(catalog.counts), catalog.vectors)
    model.initialize_query()
    return ItemRanker(model.to(device), settings)  # type: ignore[arg-type] # transformers types `to` loosely


@torch.inference_mode()
def title_states(
    whole: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, titles: Sequence[str], settings: ItemSettings
) -> Tensor:
    """Return what the layers below the trained ones make of each title, (V + 1, D): the mean over its tokens.

    Entry 0, of the start, is the state of what every title follows.
    """
    layer = whole.config.num_hidden_layers - settings.layers
    before: list[int] = tokenizer(_BEFORE)["input_ids"]
    texts = [" " + " ".join(title.split()) for title in titles[1:]]
    rows = [ids[: settings.title_tokens] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]
    lengths = numpy.array([len(row) + len(before) for row in rows])
    found = torch.empty(len(titles), whole.config.hidden_size)
    for places in length_buckets(lengths, _CELLS, 64):
        tokens = torch.zeros(len(places), int(lengths[places].max()), dtype=torch.int64)
        for line, place in enumerate(places.tolist()):
            tokens[line, : lengths[place]] = torch.tensor(before + rows[place])
        output = whole.model(input_ids=tokens.to(whole.device), output_hidden_states=True, use_cache=False)
        states = output.hidden_states[layer].float().cpu()
        for line, place in enumerate(places.tolist()):
            found[place + 1] = states[line, len(before) : lengths[place]].mean(dim=0)
        found[START] = states[0, 0]
    return found


def load_item_ranker(facts: RankerFacts, folder: Path, device: torch.device) -> ItemRanker:
    """Return the ranker of a folder; raise InputError if a file is missing or damaged, or they are of two rankers."""
    for name in (MODEL_CONFIG, MODEL_WEIGHTS):
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such file; train the ranker again")
    check_json(folder, MODEL_CONFIG)
    shapes = tensor_shapes(folder)
    with reading(f"{folder}: not the files of a ranker whose tokens are items"):
        width = shapes.get("items.own.weight", (0, 0))[1]
        settings = replace(ItemSettings(**facts.setting("items")), id_width=width)
        config = LlamaConfig.from_json_file(str(folder / MODEL_CONFIG))
        if config.num_hidden_layers != settings.layers:
            raise ValueError(f"num_hidden_layers is {config.num_hidden_layers}, items.layers {settings.layers}")
        items = shapes.get("items.bias", (0,))[0] - 1
        with torch.device("meta"):
            described = ItemModel(config, max(items, 1), settings).state_dict()
        if different := {name for name in described.keys() | shapes.keys()
                         if name not in described or shapes.get(name) != tuple(described[name].shape)}:  # fmt: skip
            name = min(different)
            raise ValueError(f"{name} is {shapes.get(name, 'missing')} in {MODEL_WEIGHTS}")
        model = ItemModel(config, items, settings)
        model.load_state_dict(load_file(folder / MODEL_WEIGHTS))
    check_weights(model, folder)
    return ItemRanker(model.to(device), settings)  # type: ignore[arg-type] # transformers types `to` loosely

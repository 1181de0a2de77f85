"""Tiny language models with random weights, and a tokenizer trained on the spot: no network, no download."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    Mamba2Config,
    Mamba2ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from ssm4rec.llm.prompts import INSTRUCTION, LETTERS
from tests.datasets import write_items

WORDS = (
    "red blue green dark silent golden lost river mountain star house night day king queen wolf road sea return story"
)


def title(item: int) -> str:
    """Return a title of two words and a year, another for each item below 400."""
    words = WORDS.split()
    return f"{words[item % 20].title()} {words[item // 20 % 20].title()} ({1950 + item % 50})"


def train_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE, as GPT-2's and SmolLM2's, on titles and the words of the prompts."""
    texts = [title(item) for item in range(1, 400)] * 2 + [f"### Instruction:\n{INSTRUCTION}\n\n### Input:\n"] * 50
    texts += ["Previously, the customer has bought: . In the future, the customer wants to buy"] * 50
    texts += [f" \n ({letter}) " for letter in LETTERS] * 5
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    raw.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=600,
            special_tokens=["<end>", "<pad>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<end>", pad_token="<pad>")


def tiny_model(kind: str, vocabulary: int) -> PreTrainedModel:
    """Return a two-layer model of a kind with random weights, the same at every call."""
    torch.manual_seed(7)
    ends = {"eos_token_id": 0, "pad_token_id": 1, "bos_token_id": 0}
    match kind:
        case "llama":
            sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
            # With the usual .02 a head of width 32 cannot prefer any token, whatever an adapter does below it.
            sizes |= {"num_key_value_heads": 2, "max_position_embeddings": 2048, "initializer_range": 0.3}
            config = LlamaConfig(vocab_size=vocabulary, **sizes, **ends)
            return LlamaForCausalLM(config).eval()
        case "gpt2":
            config = GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, n_positions=512, **ends)
            return GPT2LMHeadModel(config).eval()
        case "mamba2":
            sizes = {"hidden_size": 32, "state_size": 8, "num_hidden_layers": 2, "head_dim": 16, "num_heads": 4}
            config = Mamba2Config(vocab_size=vocabulary, n_groups=1, chunk_size=16, **sizes, **ends)
            return Mamba2ForCausalLM(config).eval()
        case _:
            raise ValueError(kind)


class TinyModels:
    """Folders of tiny models, each written when it is first asked for: ``models("llama")``, gpt2 or mamba2."""

    def __init__(self, folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
        self.folder, self.tokenizer = folder, tokenizer

    def __call__(self, kind: str) -> Path:
        path = self.folder / kind
        if not path.exists():
            tiny_model(kind, len(self.tokenizer)).save_pretrained(str(path))
            self.tokenizer.save_pretrained(str(path))
        return path


def write_titles(dataset: Path) -> Path:
    """Give a dataset folder an items.parquet with titles, and return the folder."""
    count = json.loads((dataset / "manifest.json").read_text())["counts"]["items"]
    return write_items(dataset, [title(item) for item in range(1, count + 1)])

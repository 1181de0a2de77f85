"""Small language models with random weights, and a tokenizer trained on the catalog: no download, no network.

They stand in for GPT-2 and Mamba2 where those are too large or cannot be had; whatever they know of language they
learn from the titles.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ssm4rec.llm.generator_settings import SCRATCH, ScratchSettings

_END, _PADDING = "<|endoftext|>", "<|padding|>"
_HEAD_WIDTH: Final = 32  # GPT-2's
_SCAN_HEADS: Final = 8
"""Heads of Mamba2. transformers hands slices of the input projection to causal-conv1d, which takes rows whose lengths
are multiples of 8: the projection has 4 x width + 2 x _STATE_SIZE + heads outputs."""
_STATE_SIZE: Final = 16
_CHUNK_LENGTH: Final = 32


def train_tokenizer(texts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerBase:
    """Return a byte-level BPE tokenizer, as GPT-2's and GPT-NeoX's are, of at most ``vocabulary`` tokens."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[_END, _PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    fast: Callable[..., PreTrainedTokenizerBase] = transformers.PreTrainedTokenizerFast  # untyped there
    return fast(tokenizer_object=raw, eos_token=_END, pad_token=_PADDING)


def new_language_model(
    source: str, settings: ScratchSettings, tokenizer: PreTrainedTokenizerBase, positions: int, seed: int
) -> PreTrainedModel:
    """Return a model of one of ``SCRATCH_SOURCES``, whose random weights the seed decides.

    ``positions``: of the longest text; Mamba2 has no limit.
    """
    torch.manual_seed(seed)
    shared: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.eos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if source == f"{SCRATCH}mamba2":
        return transformers.Mamba2ForCausalLM(
            transformers.Mamba2Config(
                hidden_size=settings.width,
                num_hidden_layers=settings.layers,
                expand=2,
                head_dim=2 * settings.width // _SCAN_HEADS,
                num_heads=_SCAN_HEADS,
                n_groups=1,
                state_size=_STATE_SIZE,
                chunk_size=_CHUNK_LENGTH,
                tie_word_embeddings=True,
                **shared,
            )
        )
    return transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_embd=settings.width,
            n_layer=settings.layers,
            n_head=settings.width // _HEAD_WIDTH,
            n_positions=positions,
            # None of Mamba2's layers has dropout, and a short training from nothing overfits little.
            embd_pdrop=0.0,
            resid_pdrop=0.0,
            attn_pdrop=0.0,
            initializer_range=0.1,
            **shared,
        )
    )

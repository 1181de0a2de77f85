"""What the items of a catalog are called, as subwords: what ``item_vectors.py`` makes vectors from.

The tokenizer is a byte-level BPE (Sennrich et al. 2016; Radford et al. 2019, section 2.2): every text is a row of its
tokens, whatever its script. It is trained on the texts of items with training events alone, as if the others came to
the catalog later.

Shapes: V items, N tokens of all of them.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.runtime.errors import InputError, reason

_MOST_CHARACTERS: Final = 500
"""Of an item's text that are read."""


@dataclass(frozen=True)
class ItemWords:
    """The tokens of every item's text.

    Attributes:
        tokens: of items 1..V, one after the other, (N,).
        starts: where each item's begin, (V,).
        tokenizer: as its file has it, JSON.
        digest: identifies texts and tokenizer.
    """

    tokens: Int64s
    starts: Int64s
    vocabulary: int
    tokenizer: str
    digest: str


def train_tokenizer(texts: Sequence[str], size: int) -> str:
    """Return a tokenizer of at most ``size`` tokens, 256 of them bytes, as JSON; the same for the same texts."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # its threads do not outlive a fork
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([text[:_MOST_CHARACTERS] for text in texts], trainer)
    return str(tokenizer.to_str())


def item_words(texts: Sequence[str], tokenizer: str) -> ItemWords:
    """Return the words of items 1..V, whose texts (V,) may be empty; raise ValueError if it is not a tokenizer."""
    # Here, as most models have no words: what serves one of those needs no tokenizers.
    from tokenizers import Tokenizer

    try:
        loaded = Tokenizer.from_str(tokenizer)
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(str(error)) from None
    encoded = loaded.encode_batch_fast([text[:_MOST_CHARACTERS] for text in texts], add_special_tokens=False)
    rows = [one.ids for one in encoded]
    lengths = numpy.array([len(row) for row in rows], dtype=numpy.int64)
    said = hashlib.sha256(json.dumps([tokenizer, *texts]).encode())
    return ItemWords(
        tokens=numpy.array([token for row in rows for token in row], dtype=numpy.int64),
        starts=lengths.cumsum() - lengths,
        vocabulary=loaded.get_vocab_size(),
        tokenizer=tokenizer,
        digest=said.hexdigest(),
    )


def read_words(path: Path, texts: Sequence[str]) -> ItemWords:
    """Return the words of items by the tokenizer of a model folder; raise InputError if it is missing or damaged."""
    try:
        return item_words(texts, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; train the model again") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a tokenizer ({reason(error)}); train the model again") from None

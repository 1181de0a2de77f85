"""The kinds of rankers, which everything after their fine-tuning treats alike."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.llm.adapters import load_letter_ranker
from ssm4rec.llm.item_ranker import load_item_ranker
from ssm4rec.llm.prompts import PromptFormat, Prompts


class Ranker(Protocol):
    """A model that answers a prompt with a token that stands for a candidate."""

    @property
    def model(self) -> PreTrainedModel | PeftModel:
        """What is trained, and gives the logits of answers."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Of its tokens."""
        ...

    def base(self) -> AbstractContextManager[Any] | None:
        """Return a context in which the model is as before its training; None if it cannot be asked then."""
        ...

    def prompts(self, titles: Sequence[str], form: PromptFormat) -> Prompts:
        """Return how it is asked about items with these titles, entry 0 unused."""
        ...

    def write(self, folder: Path, facts: RankerFacts) -> None:
        """Write its folder, whole or not at all."""
        ...


def load_ranker(
    facts: RankerFacts, folder: Path, cache_dir: Path, device: torch.device, trainable: bool = False
) -> Ranker:
    """Return the ranker of a folder.

    Raise InputError if its language model cannot be had, or its files are damaged or of another ranker.
    """
    if facts.ranker == "items":
        return load_item_ranker(facts, folder, device)
    return load_letter_ranker(facts, folder, cache_dir, device, trainable)

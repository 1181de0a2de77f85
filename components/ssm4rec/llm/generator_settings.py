"""Settings of the generative recommenders; ``recipes/generators.py`` gives one of each for every profile.

The defaults are for the pretrained models. Li et al. (2023) fine-tune GPT-2 117M on the next title and tune k1 and b of
BM25 afterwards; sizes of batches and searches that neither they nor the paper give are ours.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from ssm4rec.llm.checks import check_fields
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.sources import check_source
from ssm4rec.runtime.errors import InputError

LossOn = Literal["title", "text"]

SCRATCH: Final = "scratch:"
SCRATCH_SOURCES: Final = (f"{SCRATCH}gpt2", f"{SCRATCH}mamba2")


@dataclass(frozen=True)
class ScratchSettings:
    """A small language model with random weights, for a source ``scratch:gpt2`` or ``scratch:mamba2``.

    ``vocabulary``: tokens of the byte-level BPE that is trained on the catalog's titles.
    """

    width: int = 128
    layers: int = 2
    vocabulary: int = 1500

    def __post_init__(self) -> None:
        check_fields(self, ("layers",), lambda value: value >= 1, "is at least 1")
        check_fields(self, ("width",), lambda value: value >= 32 and value % 32 == 0, "is a multiple of 32")
        check_fields(self, ("vocabulary",), lambda value: value >= 300, "is at least 300: 256 bytes are tokens, too")


@dataclass(frozen=True)
class GeneratorTraining:
    """How a generator is fine-tuned, all of its weights.

    Attributes:
        loss_on: ``title``: on the next title alone; ``text``: on every token, so that a model without pretraining
            learns from the titles of the history, too.
        examples: of each user and epoch; each has its own target, drawn from the user's training items.
        patience: stop after so many epochs without a lower validation loss.
        tokens_per_batch: the most cells (rows x longest row) of a batch.
        learning_rate: at its peak; AdamW's, whose weight decay is decoupled.
        warmup: the share of the training in which the rate rises; after it, it falls linearly to zero.
        validation_users: at most so many, drawn by seed, give the validation loss; 0: all.
    """

    loss_on: LossOn = "title"
    examples: int = 1
    epochs: int = 20
    patience: int = 3
    tokens_per_batch: int = 16384
    rows_per_batch: int = 32
    learning_rate: float = 1e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    validation_users: int = 1000

    def __post_init__(self) -> None:
        if self.loss_on not in ("title", "text"):
            raise ValueError(f"there is no loss_on called {self.loss_on!r}: title, text")
        above_zero = ("examples", "epochs", "patience", "tokens_per_batch", "rows_per_batch")
        check_fields(self, above_zero, lambda value: value >= 1, "is at least 1")
        check_fields(self, ("learning_rate", "gradient_norm"), lambda value: value > 0, "is above 0")
        check_fields(self, ("warmup",), lambda value: 0 <= value < 1, "is a share: from 0 to below 1")
        check_fields(self, ("weight_decay", "validation_users"), lambda value: value >= 0, "is 0 or above")


@dataclass(frozen=True)
class SearchSettings:
    """How items are found for a user: m queries by beam search, then BM25 over the titles.

    Attributes:
        queries: m, also the number of beams.
        list_length: K; each query gives K/m items before the next one is asked. Longer lists go round again.
        new_tokens: a query ends after so many.
        tokens_per_batch: the most cells (users x beams x longest prompt) of a batch.
        tuning_users: at most so many, drawn by seed, decide k1 and b on the validation split; 0: all.
        users: of a split, at most so many, drawn by seed, are evaluated; 0: all.
    """

    queries: int = 10
    list_length: int = 10
    new_tokens: int = 32
    tokens_per_batch: int = 2**17
    tuning_users: int = 1000
    users: int = 0

    def __post_init__(self) -> None:
        sizes = ("queries", "list_length", "new_tokens")
        check_fields(self, sizes, lambda value: value >= 1, "is at least 1")
        check_fields(self, sizes, lambda value: value <= 10_000, "is at most 10,000")
        check_fields(self, ("tuning_users", "users"), lambda value: value >= 0, "is 0 or above")
        if self.list_length % self.queries:
            raise ValueError(f"list_length {self.list_length} is not a multiple of queries {self.queries}")

    @property
    def per_query(self) -> int:
        """K/m."""
        return self.list_length // self.queries


@dataclass(frozen=True)
class GeneratorRecipe:
    """Everything that decides a generative recommender but data and seed; ``source`` is its language model's."""

    source: str
    scratch: ScratchSettings = ScratchSettings()
    prompt: PromptFormat = field(default_factory=lambda: PromptFormat(maximum_tokens=768))
    training: GeneratorTraining = GeneratorTraining()
    search: SearchSettings = SearchSettings()

    def __post_init__(self) -> None:
        check_fields(self, ("source",), bool, "names a language model")
        if not self.source.startswith(SCRATCH):
            check_source(self.source)
        elif self.source not in SCRATCH_SOURCES:
            raise InputError(
                f"language model {self.source}: unknown; from scratch there are {', '.join(SCRATCH_SOURCES)}"
            )

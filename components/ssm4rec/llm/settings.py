"""Settings of the language-model stages; ``recipes/rankers.py`` gives one of each for every profile.

The defaults are LlamaRec's (Yue et al. 2023), by the names of Yueeeeeeee/LlamaRec:config.py.
"""

from dataclasses import dataclass, field
from typing import Final

from ssm4rec.artifacts.ranker import RANKER_KINDS, RankerKind
from ssm4rec.llm.checks import check_fields
from ssm4rec.llm.item_settings import ItemSettings
from ssm4rec.llm.prompts import LETTERS, PromptFormat
from ssm4rec.llm.sources import QUANTIZATIONS, SMOLLM2, Quantization, check_source

OPTIMIZERS: Final = (
    "adamw_torch", "adamw_torch_fused", "adamw_bnb_8bit", "paged_adamw_32bit", "paged_adamw_8bit", "adafactor", "sgd",
    "usgm",
)  # fmt: skip
"""Of transformers those that need no further library, and the paper's."""


def _letters(most: int) -> str:
    return f"is at most {most}: each candidate of a prompt has a letter of {len(LETTERS)}"


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adaptation (peft).

    ``modules`` names the linear layers that get matrices, separated by "+"; ``all-linear``: every one but the head.
    """

    rank: int = 8  # lora_r
    alpha: int = 32  # lora_alpha
    dropout: float = 0.05  # lora_dropout
    modules: str = "q_proj+v_proj"  # lora_target_modules

    def __post_init__(self) -> None:
        check_fields(self, ("rank", "alpha"), lambda value: value >= 1, "is at least 1")
        check_fields(self, ("dropout",), lambda value: 0 <= value < 1, "is a share: from 0 to below 1")
        check_fields(self, ("modules",), bool, "names at least one kind of layer")


@dataclass(frozen=True)
class StepSettings:
    """How a training takes its steps.

    Attributes:
        batch: prompts (or pairs) of one forward and backward pass.
        accumulation: passes of one step.
        learning_rate: after ``warmup`` steps; it falls linearly to zero.
        optimizer: one that transformers knows; paged ones need a GPU (on a CPU ``adamw_torch`` takes their place). For
            fine-tuning also ``usgm`` (``optim/usgm.py``), which has neither rate nor warmup, and cuts no gradient.
        diameter: of USGM's ball, in norms of the initial LoRA matrices.
    """

    batch: int = 16  # lora_micro_batch_size
    accumulation: int = 1
    learning_rate: float = 1e-4  # lora_lr
    warmup: int = 100  # warmup_steps
    optimizer: str = "paged_adamw_32bit"
    diameter: float = 1.0
    gradient_norm: float = 1.0

    def __post_init__(self) -> None:
        check_fields(self, ("batch", "accumulation"), lambda value: value >= 1, "is at least 1")
        check_fields(self, ("learning_rate", "diameter", "gradient_norm"), lambda value: value > 0, "is above 0")
        check_fields(self, ("warmup",), lambda value: value >= 0, "is 0 or above")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"there is no optimizer called {self.optimizer!r}: {', '.join(OPTIMIZERS)}")

    @property
    def prompts(self) -> int:
        """Prompts (or pairs) of one step."""
        return self.batch * self.accumulation

    @property
    def scale(self) -> float:
        """The setting that matters most: the peak learning rate, or USGM's diameter."""
        return self.diameter if self.optimizer == "usgm" else self.learning_rate


@dataclass(frozen=True)
class RankerSettings:
    """Fine-tuning of a ranker (LlamaRec).

    Attributes:
        hard: share of the training prompts whose negatives are the retriever's best candidates, not uniform ones.
        prompts: training prompts, each drawn with its own history, negatives and order.
        validation_users: of those whose target the retriever found; the ranking of these decides which weights stay.
        evaluations: how often they are ranked, evenly spread over the training.
        patience: stop after so many evaluations without a better NDCG@10.
    """

    prompt: PromptFormat = field(default_factory=PromptFormat)
    negatives: int = 19  # llm_negative_sample_size
    hard: float = 0.0
    # LlamaRec takes every prefix of every user once (lora_num_epochs 1): 95,000 of ML-100K, 980,000 of ML-1M. At most
    # so many are drawn here; the training mostly stops before.
    prompts: int = 100_000
    validation_users: int = 500
    evaluations: int = 60  # lora_val_iterations 100 steps of 16 prompts
    patience: int = 20  # lora_early_stopping_patience
    lora: LoraSettings = LoraSettings()
    steps: StepSettings = StepSettings()

    def __post_init__(self) -> None:
        above_zero = ("negatives", "prompts", "validation_users", "evaluations", "patience")
        check_fields(self, above_zero, lambda value: value >= 1, "is at least 1")
        check_fields(self, ("hard",), lambda value: 0 <= value <= 1, "is a share: from 0 to 1")
        check_fields(self, ("negatives",), lambda value: value < len(LETTERS), _letters(len(LETTERS) - 1))


@dataclass(frozen=True)
class AlignmentSettings:
    """ORPO on preference pairs; the defaults are quoted from the paper's section 3.5.3.

    Attributes:
        negatives: candidates in addition to winner and loser.
        beta: weight of the odds-ratio term, the paper's lambda.
        pairs: at most so many, drawn by seed; 0: all.
        evaluations: how often the held-out pairs are scored, evenly spread over the epoch.
        held_out: share of the pairs that validate the training and are not trained on.
    """

    prompt: PromptFormat = field(default_factory=PromptFormat)
    negatives: int = 18  # with winner and loser LlamaRec's 20 candidates
    beta: float = 0.1  # "beta = 0.1"
    pairs: int = 0
    evaluations: int = 5  # "evaluate each 0.2 steps"
    held_out: float = 0.05
    steps: StepSettings = StepSettings(
        batch=4,
        accumulation=4,  # "gradient accumulation steps = 4"
        learning_rate=8e-6,  # "lr = 8e-6"
        warmup=10,  # "we set warmup steps to 10"
        optimizer="paged_adamw_32bit",  # "paged adamw optimizer"
    )

    def __post_init__(self) -> None:
        check_fields(self, ("negatives", "pairs"), lambda value: value >= 0, "is 0 or above")
        check_fields(self, ("beta",), lambda value: value > 0, "is above 0")
        check_fields(self, ("evaluations",), lambda value: value >= 1, "is at least 1, checkpoints are written then")
        check_fields(self, ("held_out",), lambda value: 0 < value < 1, "is a share: above 0 and below 1")
        check_fields(self, ("negatives",), lambda value: value <= len(LETTERS) - 2, _letters(len(LETTERS) - 2))


@dataclass(frozen=True)
class RankerRecipe:
    """Everything about a ranker: the language model, how it is loaded, fine-tuned and aligned, and whom it ranks for.

    Attributes:
        ranker: ``letters``, LlamaRec, fine-tuned as ``finetune`` says; or ``items``, whose tokens are items, trained as
            ``items`` says.
        ranked_users: of those whose target the retriever found, at most so many are ranked in the end; 0: all.
    """

    source: str = SMOLLM2
    quantization: Quantization = "none"
    ranker: RankerKind = "letters"
    ranked_users: int = 0
    finetune: RankerSettings = RankerSettings()
    items: ItemSettings = field(default_factory=ItemSettings)
    align: AlignmentSettings = AlignmentSettings()

    def __post_init__(self) -> None:
        if self.quantization not in QUANTIZATIONS:
            raise ValueError(f"there is no quantization called {self.quantization!r}: {', '.join(QUANTIZATIONS)}")
        if self.ranker not in RANKER_KINDS:
            raise ValueError(f"there is no ranker called {self.ranker!r}: {', '.join(RANKER_KINDS)}")
        if self.ranker == "items" and self.quantization != "none":
            raise ValueError(f"quantization={self.quantization}: ranker=items trains the weights that it would round")
        check_fields(self, ("source",), bool, "names a language model")
        check_fields(self, ("ranked_users",), lambda value: value >= 0, "is 0 or above")
        if self.align.steps.optimizer == "usgm":
            raise ValueError("align.steps.optimizer=usgm: only fine-tuning has it (finetune.steps.optimizer=usgm)")
        check_source(self.source)

    @property
    def validation_users(self) -> int:
        """How many users choose the weights of a fine-tuning; 0: all."""
        return (self.items if self.ranker == "items" else self.finetune).validation_users

"""ranker.json of an adapter folder, as rankings, alignments and reports read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NotRequired, get_args

from pydantic import AfterValidator, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from ssm4rec.artifacts.codec import OPEN, Amount, Count, Positive, read_document, shape
from ssm4rec.artifacts.dataset import SequenceDataset, check_trained_on
from ssm4rec.artifacts.earlier_names import metrics_of_today
from ssm4rec.artifacts.names import RANKER
from ssm4rec.runtime.errors import InputError

RankerKind = Literal["letters", "items"]
RANKER_KINDS: Final = get_args(RankerKind)
"""``letters``: LlamaRec, which is asked for the letter of a candidate; ``items``: a model whose tokens are items."""

FINETUNE: Final = "finetune_llm"
ALIGN: Final = "align_llm"

TrainingFigures = Annotated[dict[str, Any], AfterValidator(metrics_of_today)]
"""Figures of how a ranker's training went."""


@with_config(ConfigDict(extra="forbid", strict=True))
class _Prompt(TypedDict):
    history: Count
    title_tokens: Positive
    maximum_tokens: Positive


@with_config(OPEN)
class _Steps(TypedDict):
    batch: Positive
    accumulation: Positive
    learning_rate: Amount
    optimizer: str
    diameter: Amount


@with_config(OPEN)
class _Training(TypedDict):
    prompt: NotRequired[_Prompt]
    steps: NotRequired[_Steps]


@with_config(OPEN)
class _Recipe(TypedDict):
    ranked_users: NotRequired[Count]
    finetune: NotRequired[_Training]
    align: NotRequired[_Training]
    items: NotRequired[dict[str, int | float]]


@dataclass(frozen=True)
class RankerFacts:
    """ranker.json as an object.

    Attributes:
        source, quantization: of the language model.
        stage: that wrote the folder, finetune_llm or align_llm.
        retriever: whose candidates validated it.
        training: figures of how it went.
        retriever_weight: of the retriever's standardized scores next to its own, best on the validation users.
        titles: digest of those it was trained with (``artifacts/titles.py``), "" in folders of the last release.
        winners_alone: aligned without ORPO's preference term, as a control.
    """

    source: str
    quantization: Literal["none", "nf4"]
    stage: Annotated[str, Field(pattern="^(finetune_llm|align_llm)$")]
    dataset: str
    fingerprint: str
    seed: Count
    profile: str
    retriever: str
    recipe: Annotated[dict[str, Any], shape(_Recipe)]
    training: TrainingFigures
    label: str = ""
    ranker: RankerKind = "letters"
    retriever_weight: Amount | None = None
    titles: str = ""
    winners_alone: bool = False

    def __post_init__(self) -> None:
        if self.winners_alone and self.stage != ALIGN:
            raise ValueError(f"winners_alone is true, but {self.stage} trains no control of an alignment")

    @classmethod
    def read(cls, folder: Path, dataset: SequenceDataset | None = None) -> "RankerFacts":
        """Read an adapter folder's ranker.json; raise InputError if it is none, or trained on other data."""
        facts = read_document(folder / RANKER, cls, "the description of a ranker", "finetune_llm or align_llm")
        if dataset:
            check_trained_on(folder, vars(facts), dataset, "rank and align with the data trained on")
        return facts

    def setting(self, *names: str) -> Any:
        """Return a setting of the recipe by the names that lead to it; raise InputError if there is none."""
        found: Any = self.recipe
        for name in names:
            if not isinstance(found, dict) or name not in found:
                raise InputError(f"{RANKER}: its recipe has no {'.'.join(names)}; train the adapter again")
            found = found[name]
        return found

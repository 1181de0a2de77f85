"""ranker.json of an adapter folder, as rankings, alignments and reports read it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from ssm4rec.artifacts.codec import OPEN, Amount, Count, Positive, read_document, shape
from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.names import RANKER
from ssm4rec.runtime.errors import InputError


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


@dataclass(frozen=True)
class RankerFacts:
    """ranker.json as an object; ``llm/adapters.py`` describes the fields."""

    source: str
    quantization: Literal["none", "nf4"]
    stage: Annotated[str, Field(pattern="^(finetune_llm|align_llm)$")]
    dataset: str
    fingerprint: str
    seed: Count
    profile: str
    retriever: str
    recipe: Annotated[dict[str, Any], shape(_Recipe)]
    training: dict[str, Any]
    label: str = ""

    @classmethod
    def read(cls, folder: Path, dataset: SequenceDataset) -> "RankerFacts":
        """Read an adapter folder's ranker.json.

        Raises:
            InputError: it is not one, or of an adapter trained on another data set.
        """
        facts = read_ranker(folder)
        if facts.fingerprint != dataset.fingerprint:
            raise InputError(
                f"{folder}: trained on {facts.dataset} ({facts.fingerprint[:12]}), but the data set given is "
                f"{dataset.name} ({dataset.fingerprint[:12]}); rank the data trained on"
            )
        return facts

    def setting(self, *names: str) -> Any:
        """Return a setting of the recipe by the names that lead to it.

        Raises:
            InputError: the recipe has no such setting.
        """
        found: Any = self.recipe
        for name in names:
            if not isinstance(found, dict) or name not in found:
                raise InputError(f"{RANKER}: its recipe has no {'.'.join(names)}; train the adapter again")
            found = found[name]
        return found


def read_ranker(folder: Path) -> RankerFacts:
    """Read an adapter folder's ranker.json, whatever data set it is of.

    Raises:
        InputError: it is not one.
    """
    return read_document(folder / RANKER, RankerFacts, "the description of a ranker", "finetune_llm or align_llm")

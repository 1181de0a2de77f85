"""What the alignment study trains."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from ssm4rec.artifacts.names import DEFAULT_LANGUAGE_MODEL
from ssm4rec.settings.command_line import texts
from ssm4rec.settings.flags import Flag
from ssm4rec.settings.shared import PairsBy, Ranker
from ssm4rec.studies.comparative import plan as comparative
from ssm4rec.studies.settings import LanguageModelStudy, Lists, PlannedSeeds


@dataclass(frozen=True, kw_only=True)
class Settings(LanguageModelStudy):
    """Fine-tune and align language models of several sizes on one retriever's candidates; items need titles.

    A seed is that of a fine-tuning, of its alignment and of its control, which is trained on the same pairs' winners
    alone: several seeds are as many rankers, each aligned once.
    """

    PACKAGE: ClassVar[str] = "orpo_study"
    SUMMARY: ClassVar[str] = "table"

    language_models: Annotated[
        tuple[str, ...], Flag("sources to fine-tune and align, separated by commas", texts, planned=True)
    ] = (DEFAULT_LANGUAGE_MODEL,)
    ranker: Ranker = "auto"
    pairs_by: PairsBy = "paper"
    seeds: PlannedSeeds = (0,)
    llm_overrides: Annotated[str, Flag("changes to the rankers' recipe, such as finetune.prompts=500")] = ""

    def lists(self) -> Lists:
        """Return the rankers, and the retriever, which is reported next to them."""
        rankers = [{"language_model": source, "seed": seed} for source in self.language_models for seed in self.seeds]
        return {"trainings": [{"model": self.retriever, "seed": 0}], "rankers": rankers}

    track = staticmethod(comparative.Settings.track)

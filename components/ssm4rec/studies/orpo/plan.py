"""What the alignment study trains."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ssm4rec.artifacts.names import DEFAULT_LANGUAGE_MODEL
from ssm4rec.settings.command_line import texts
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.comparative.plan import track_models
from ssm4rec.studies.settings import LanguageModelStudy, PlannedSeeds, Row
from ssm4rec.tracking import Tracker


@dataclass(frozen=True, kw_only=True)
class Settings(LanguageModelStudy):
    """Fine-tune and align language models of several sizes on one retriever's candidates; items need titles."""

    PACKAGE: ClassVar[str] = "orpo_study"
    SUMMARY: ClassVar[str] = "table"

    language_models: Annotated[
        tuple[str, ...], Flag("sources to fine-tune and align, separated by commas", texts, planned=True)
    ] = (DEFAULT_LANGUAGE_MODEL,)
    seeds: PlannedSeeds = (0,)
    llm_overrides: Annotated[str, Flag("changes to the rankers' recipe, such as finetune.prompts=500")] = ""

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rankers, and the retriever, which is reported next to them."""
        return {
            "trainings": [{"model": self.retriever, "seed": 0}],
            "rankers": [
                {"language_model": source, "seed": seed} for source in self.language_models for seed in self.seeds
            ],
        }

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log every model's metrics; seeds count as steps."""
        track_models(tracker, rows)

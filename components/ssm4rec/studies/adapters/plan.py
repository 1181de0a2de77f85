"""What the adapter study trains."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from ssm4rec.llm.adapter_sweep import SCALES, adapter_sweep
from ssm4rec.settings.command_line import names
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.settings import LanguageModelStudy, PlannedSeeds, Row
from ssm4rec.tracking import Tracker


@dataclass(frozen=True, kw_only=True)
class Settings(LanguageModelStudy):
    """Fine-tune a language model's adapter with USGM and with AdamW, each over as many scales; items need titles."""

    PACKAGE: ClassVar[str] = "adapter_study"

    language_model: Annotated[str, Flag("to fine-tune: its source; empty: the profile's", planned=True)] = ""
    optimizers: Annotated[
        tuple[str, ...], Flag(f"to compare, of {', '.join(SCALES)}", names(tuple(SCALES)), planned=True)
    ] = tuple(SCALES)
    seeds: PlannedSeeds = (0,)
    llm_overrides: Annotated[
        str,
        Flag("changes to the language model's recipe, such as finetune.prompts=500", planned=True),
    ] = ""

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """Return the fine-tunings."""
        return {"adapters": adapter_sweep(self.language_model, self.optimizers, self.seeds, self.llm_overrides)}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each fine-tuning came to; seeds count as steps."""
        for row in rows:
            tracker.metrics({f"{row['optimizer']}/{row['scale']:g}/late_loss": row["late_loss"]}, row["seed"])

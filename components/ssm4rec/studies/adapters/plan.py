"""The trainings of an adapter study: every optimizer over its scale, on every seed, with as many trials each."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from ssm4rec.settings.command_line import names
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.settings import (
    LanguageModelStudy,
    Lists,
    PlannedSeeds,
    Row,
    joined_overrides,
    refuse_own_settings,
    track_means,
)
from ssm4rec.tracking import Tracker

SCALES: Final[dict[str, tuple[float, ...]]] = {
    "adamw_torch": (3e-4, 1e-3, 3e-3, 1e-2),
    "usgm": (0.003, 0.01, 0.03, 0.1),
}
"""What is tried of each optimizer: peak learning rates; for USGM, diameters in norms of the initial LoRA matrices."""

SETTINGS: Final = {"adamw_torch": "learning_rate", "usgm": "diameter"}
"""The setting of each optimizer that lengthens its steps."""


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
        str, Flag("changes to the language model's recipe, such as finetune.prompts=500", planned=True)
    ] = ""

    def lists(self) -> Lists:
        """Return each optimizer at each scale on each seed; raise InputError for overrides of the study's own."""
        own = ("optimizer", *(SETTINGS[optimizer] for optimizer in self.optimizers))
        refuse_own_settings("--llm-overrides", self.llm_overrides, {f"finetune.steps.{name}" for name in own})
        adapters = [
            {"language_model": self.language_model, "seed": seed, **self._told(optimizer, scale)}
            for optimizer in self.optimizers
            for scale in SCALES[optimizer]
            for seed in self.seeds
        ]
        return {"adapters": adapters}

    def _told(self, optimizer: str, scale: float) -> dict[str, str]:
        own = {"finetune.steps.optimizer": optimizer, f"finetune.steps.{SETTINGS[optimizer]}": f"{scale:g}"}
        return {"overrides": joined_overrides(own, self.llm_overrides), "label": f"{optimizer}-{scale:g}"}

    @staticmethod
    def track(tracker: Tracker, rows: list[Row]) -> None:
        """Log what each fine-tuning came to, the mean over its seeds."""
        track_means(tracker, ((f"{row['optimizer']}/{row['scale']:g}/late_loss", row["late_loss"]) for row in rows))

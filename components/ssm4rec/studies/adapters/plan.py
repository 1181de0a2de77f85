"""The trainings of an adapter study: every optimizer over its scale, on every seed, with as many trials each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import names
from ssm4rec.settings.flags import Flag
from ssm4rec.studies.settings import LanguageModelStudy, PlannedSeeds, Row, joined_overrides, refuse_own_settings
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


def adapter_sweep(source: str, optimizers: Sequence[str], seeds: Sequence[int], overrides: str) -> list[dict[str, Any]]:
    """Return ``language_model``, ``seed``, ``overrides`` and ``label`` of each fine-tuning, for ``finetune_llm``.

    Args:
        source: of the language model; empty: the profile's.
        optimizers: names of ``SCALES``.
        seeds: each trains at every scale.
        overrides: changes to the recipe that all share.

    Raises:
        InputError: an optimizer that there is not, or overrides that set what the study sets.
    """
    for name in optimizers:
        if name not in SCALES:
            raise InputError(f"--optimizers {name}: unknown; choose from {', '.join(SCALES)}")
    own = {f"finetune.steps.{name}" for name in ("optimizer", *map(SETTINGS.__getitem__, optimizers))}
    refuse_own_settings("--llm-overrides", overrides, own)
    return [
        {"language_model": source, "seed": seed, **_told(optimizer, scale, overrides)}
        for optimizer in optimizers
        for scale in SCALES[optimizer]
        for seed in seeds
    ]


def _told(optimizer: str, scale: float, further: str) -> dict[str, str]:
    own = {"finetune.steps.optimizer": optimizer, f"finetune.steps.{SETTINGS[optimizer]}": f"{scale:g}"}
    return {"overrides": joined_overrides(own, further), "label": f"{optimizer}-{scale:g}"}

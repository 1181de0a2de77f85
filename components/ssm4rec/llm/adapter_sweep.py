"""The trainings of an adapter study: every optimizer over its scale, on every seed, with as many trials each."""

from collections.abc import Sequence
from typing import Any, Final

from ssm4rec.runtime.errors import InputError
from ssm4rec.training.sweep import refuse_own_settings

SCALES: Final[dict[str, tuple[float, ...]]] = {
    "adamw_torch": (3e-4, 1e-3, 3e-3, 1e-2),
    "usgm": (0.003, 0.01, 0.03, 0.1),
}
"""What is tried of each optimizer: peak learning rates; for USGM, diameters in norms of the initial LoRA matrices."""

SETTINGS: Final = {"adamw_torch": "learning_rate", "usgm": "diameter"}
"""The setting of each optimizer that lengthens its steps."""


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
    own = {"optimizer": optimizer, SETTINGS[optimizer]: f"{scale:g}"}
    overrides = ",".join([*(f"finetune.steps.{name}={value}" for name, value in own.items()), *filter(None, [further])])
    return {"overrides": overrides, "label": f"{optimizer}-{scale:g}"}
